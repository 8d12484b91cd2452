"""``confpress optimize``: the whole pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..recipe.presets import DEFAULT, PRESETS
from .options import (
    PATH,
    SECONDS,
    FiniteRange,
    format_plan_option,
    formats_option,
    frontend_option,
    json_option,
    max_error_option,
    max_latency_option,
    max_size_option,
    model_argument,
    no_cache_option,
    on_undecided_option,
    repair_option,
    selection_option,
    selection_subset_option,
    tokens_option,
)

if TYPE_CHECKING:
    from ..gate import Outcome

_PRESETS = "; ".join(f"`{name}`: {preset.about}" for name, preset in PRESETS.items())


@click.command("optimize", short_help="Make a model smaller and faster, and prove it.")
@model_argument
@click.option(
    "-o", "--output", type=PATH, required=True, metavar="OUT", help="The result folder to write."
)
@click.option(
    "--recipe",
    "recipe_file",
    type=PATH,
    metavar="FILE",
    help="Options of every stage (TOML, see docs/recipe.md), set on top of the preset.",
)
@click.option("--preset", default=DEFAULT, show_default=True, metavar="NAME", help=f"{_PRESETS}.")
@click.option(
    "--target",
    metavar="LIST",
    help="`portable` (stock ONNX Runtime), `cpu` (with the kernel library), `cuda` (float16 for "
    "onnxruntime-gpu), or several with commas [portable,cpu].",
)
@click.option(
    "--calibration",
    type=PATH,
    metavar="DIR",
    help="Speech, without texts, that sets the ranges of int8 convolutions: a folder of audio or "
    "a manifest.tsv. Without it, convolutions stay float32.",
)
@click.option(
    "--calibration-subset",
    metavar="TEXT",
    help="Calibrate only on files whose path contains this text.",
)
@click.option(
    "--validation",
    type=PATH,
    metavar="DIR",
    help="Speech with texts that the results are judged by: a folder or a manifest.tsv. It may "
    "not share files with the calibration.",
)
@click.option(
    "--subset", metavar="TEXT", help="Validate only on files whose path contains this text."
)
@click.option(
    "--max-wer-increase",
    type=FiniteRange(min=0),
    metavar="X",
    help="Percentage points of word error rate that a result may lose on --validation (see the "
    "exit status below), and that formats are chosen within on --selection.",
)
@click.option(
    "--gate-each-stage",
    is_flag=True,
    help="Also judge the model after every lossy stage by --max-wer-increase, and name the stage "
    "to blame.",
)
@on_undecided_option
@formats_option
@max_size_option
@max_latency_option
@max_error_option
@selection_option
@selection_subset_option
@format_plan_option
@repair_option
@click.option(
    "--max-seconds",
    type=SECONDS,
    metavar="S",
    help="Longest audio the model must take: a stored position table is trimmed to it. Without "
    "it, the table is computed in the graph, for any length.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads that latency is measured with [1].",
)
@click.option(
    "--decisions",
    type=PATH,
    metavar="FILE",
    help="`decisions.json` of an earlier result of MODEL: what was measured then is taken over, "
    "and the models are the same, bit by bit.",
)
@frontend_option
@tokens_option
@no_cache_option
@json_option
@click.pass_obj
def command(
    called: tuple[str, ...],
    model: Path,
    output: Path,
    recipe_file: Path | None,
    preset: str,
    target: str | None,
    calibration: Path | None,
    calibration_subset: str | None,
    validation: Path | None,
    subset: str | None,
    max_wer_increase: float | None,
    gate_each_stage: bool,
    on_undecided: Outcome | None,
    formats: str | None,
    max_size: float | None,
    max_latency: float | None,
    max_error: float | None,
    selection: Path | None,
    selection_subset: str | None,
    format_plan: Path | None,
    repair: str | None,
    max_seconds: float | None,
    threads: int | None,
    decisions: Path | None,
    frontend: Path | None,
    tokens: Path | None,
    no_cache: bool,
    json_file: Path | None,
) -> int:
    """Optimises MODEL, a Conformer-CTC in ONNX, and writes the result folder OUT.

    OUT holds `portable/model.onnx` and `cpu/model.onnx`, the models to deploy (and, where asked
    for, `cuda/model.onnx`, which is measured only where a GPU is);
    `interchange.onnx`, the same in standard operators; `report.html` and `report.json`, the
    evidence; `decisions.json`, what was measured and built on; `manifest.json`, the hash of every
    file. It appears whole or not at all, and replaces an earlier result of Confpress, but no
    other folder. A run that was interrupted goes on where it was when it is called again.

    \b
    Examples:
      confpress optimize model.onnx -o out
      confpress optimize model.onnx -o out --calibration calls/
      confpress optimize model.onnx -o out --calibration calls/ --validation test.tsv \\
          --max-wer-increase 0.5
      confpress optimize model.onnx -o out --preset lossless --target portable
      confpress optimize model.onnx -o out --target cuda --validation test.tsv
      confpress optimize model.onnx -o out --calibration calls/ --max-size 9 --repair gptq
      confpress optimize model.onnx -o out --calibration calls/ --selection more.tsv \\
          --max-wer-increase 0.5
      confpress optimize model.onnx -o out --recipe mine.toml

    \b
    Exit status:
      0  done; with --max-wer-increase: passed, the 95 % interval lies within the limit
      1  error, OUT is as it was
      2  wrong usage, OUT is as it was
      3  --max-wer-increase: failed, the interval lies above the limit (OUT is written)
      4  --max-wer-increase: undecided, the interval contains the limit: more speech would
         decide (OUT is written)
    """  # noqa: D301 (\b tells click to keep lines)
    from ..console import check_output_file, print_line, write_json
    from ..gate import exit_status
    from ..job import Inputs
    from ..recipe.recipe import load_recipe
    from ..run import run_pipeline
    from ..tables import print_summary

    limits = {"max_size": max_size, "max_latency": max_latency, "max_error": max_error}
    if selection is not None:
        limits["max_wer_increase"] = max_wer_increase
    judged = validation is not None or selection is None
    recipe = load_recipe(recipe_file, preset).replace(
        _changes(
            ("lower", "targets", target.split(",") if target is not None else None),
            ("calibration", "subset", calibration_subset),
            ("validation", "subset", subset),
            ("validation", "max_wer_increase", max_wer_increase if judged else None),
            ("validation", "gate_each_stage", gate_each_stage or None),
            ("formats", "choice", formats or _implied(limits, format_plan)),
            *(("formats", name, limit) for name, limit in limits.items()),
            ("formats", "selection_subset", selection_subset),
            ("formats", "plan", None if format_plan is None else str(format_plan)),
            ("formats", "repair", repair),
            ("positions", "max_seconds", max_seconds),
            ("positions", "mode", "trim" if max_seconds else None),
            ("bench", "threads", [threads] if threads else None),
        )
    )
    inputs = Inputs(model, calibration, validation, frontend, tokens, decisions, selection)
    if json_file is not None:
        check_output_file(json_file, inputs.files, outside=output)
    result = run_pipeline(inputs, recipe, output, command=called, cache=not no_cache)
    write_json(json_file, result.report)
    print_summary(result.report)
    print_line(f"{output / 'report.html'} has the evidence.")
    verdict = result.report.verdict
    if verdict is None:
        return 0
    print_line(verdict.sentence)
    return exit_status(verdict.outcome, on_undecided)


def _implied(limits: Mapping[str, float | None], plan: Path | None) -> str | None:
    """How formats are chosen where only a plan or limits are given."""
    if plan is not None:
        return "plan"
    return "mixed" if any(limit is not None for limit in limits.values()) else None


def _changes(*options: tuple[str, str, Any]) -> dict[str, dict[str, Any]]:
    """The options that were given, by section of the recipe."""
    changes: dict[str, dict[str, Any]] = {}
    for section, key, value in options:
        if value is not None:
            changes.setdefault(section, {})[key] = value
    return changes
