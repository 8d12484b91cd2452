"""``confpress prune``: removes what is pruned, prunes what a plan names or what matters least."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import PATH, FiniteRange, frontend_option, json_option, model_argument, output_option

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...passes.prune import Moments

_SHARE = FiniteRange(min=0, max=1, min_open=True)


@click.command("prune", short_help="Remove pruned units, heads, channels, modules.")
@model_argument
@output_option
@click.option(
    "--plan",
    "plan_file",
    type=PATH,
    metavar="PLAN.json",
    help="What to prune, by the names that `inspect` shows; `inspect --plan-template` writes one.",
)
@click.option(
    "--keep",
    type=_SHARE,
    metavar="SHARE",
    help="Choose what matters least, so that this share of the parameters stays; needs "
    "--calibration.",
)
@click.option("--keep-units", type=_SHARE, metavar="SHARE", help="The same for units alone.")
@click.option("--keep-heads", type=_SHARE, metavar="SHARE", help="The same for heads alone.")
@click.option("--keep-channels", type=_SHARE, metavar="SHARE", help="The same for channels alone.")
@click.option(
    "--floor",
    type=_SHARE,
    default=0.25,
    show_default=True,
    metavar="SHARE",
    help="Least share of every module that --keep leaves.",
)
@click.option(
    "--calibration",
    type=PATH,
    metavar="DIR",
    help="Speech that shows what matters, and that the repair is fitted on.",
)
@click.option(
    "--subset", metavar="TEXT", help="Calibrate only on files whose path contains this text."
)
@click.option("--no-repair", is_flag=True, help="Leave out the least-squares repair after --keep.")
@click.option(
    "--tolerance",
    type=FiniteRange(min=0, min_open=True),
    default=1e-4,
    show_default=True,
    help="Largest difference of an output, relative to its largest value.",
)
@frontend_option
@json_option
def command(
    model: Path,
    output: Path,
    plan_file: Path | None,
    keep: float | None,
    keep_units: float | None,
    keep_heads: float | None,
    keep_channels: float | None,
    floor: float,
    calibration: Path | None,
    subset: str | None,
    no_repair: bool,
    tolerance: float,
    frontend: Path | None,
    json_file: Path | None,
) -> None:
    """Writes MODEL without what is pruned, smaller and as much faster.

    Without --plan and --keep, what is in the file goes: masks, zero rows, constant branches. The
    result is compared with MODEL (or with MODEL and the plan's zeros in it) at two lengths and
    two batch sizes, and is not written if an output differs.

    \b
    Examples:
      confpress prune masked.onnx -o small.onnx
      confpress prune model.onnx -o small.onnx --plan plan.json
      confpress prune model.onnx -o small.onnx --keep 0.7 --calibration calls/
    """  # noqa: D301 (\b tells click to keep lines)
    from ...passes.errors import ConfpressError
    from ...passes.prune import Keep, Plan
    from ..prune import chosen_steps, masked_steps, planned_steps, simplified
    from .single import run_alone

    shares = (keep, keep_units, keep_heads, keep_channels)
    chooses = any(share is not None for share in shares)
    if chooses and plan_file is not None:
        raise ConfpressError("--plan says what goes and --keep chooses it; give one of them.")
    if chooses and calibration is None:
        raise ConfpressError("--keep needs --calibration: speech that shows what matters.")
    plan = None if plan_file is None else Plan.load(plan_file)
    wanted = Keep(keep or 1.0, keep_units, keep_heads, keep_channels, floor)

    def passes(loaded: ir.Model) -> list[ir.passes.PassBase]:
        simplified(loaded)
        if chooses:
            moments = _moments(model, loaded, calibration, subset, frontend)
            return chosen_steps(loaded, wanted, moments, tolerance, repair=not no_repair)
        if plan is not None:
            return planned_steps(loaded, plan, tolerance)
        return masked_steps(loaded, tolerance)

    run_alone("prune", model, output, json_file, passes)


def _moments(
    path: Path, loaded: ir.Model, folder: Path | None, subset: str | None, frontend: Path | None
) -> dict[str, Moments]:
    """Runs the calibration speech and collects what the choice and the repair need."""
    from ...runtime.recognition.asr import AsrModel
    from ..calibration import load_recordings
    from ..prune import watch
    from ..recipe.recipe import preset

    assert folder is not None, "checked before"
    recipe = preset("default").replace({"calibration": {"subset": subset}})
    recordings = load_recordings(folder, AsrModel.load(path, frontend).frontend, recipe)
    return watch(loaded, recordings)
