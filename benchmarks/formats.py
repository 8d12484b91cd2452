"""Number formats on a real model: size, word error rate and latency by choice of formats.

    python benchmarks/formats.py DATA WORK --markdown docs/quantisation.md

DATA is the folder that docs/data.md describes. Formats are chosen on `train_clean_calibration`
alone; layer errors are taken on recordings of it that the choice did not see; the test parts are
only reported on. Every model and every row is kept in WORK and taken from there by the next run.
`--latency` adds the speed, models in turn in one run: pin that to a quiet core.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx_ir as ir
from confpress.optimizer.format_budget import allocate
from confpress.optimizer.formats import (
    EIGHT_BIT_BOTH,
    FOUR_BIT,
    budget_of,
    observe_inputs,
    sensitivities,
)
from confpress.optimizer.recipe import preset
from confpress.optimizer.stages import LOSSLESS_STAGES, Findings, Skip
from confpress.passes.base import run
from confpress.passes.format_choice import LayerErrors, LayerInputs, format_errors, mofq
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.lower.cpu import LowerCpu
from confpress.passes.lower.portable import LowerPortable
from confpress.passes.lower.reference import LowerReference
from confpress.passes.quantize import Quantize
from confpress.passes.versions import MinimiseVersions
from confpress.runtime.asr import AsrModel
from confpress.runtime.bench import BenchOptions, bench
from confpress.runtime.calibrate import CalibrationSet, load_calibration
from confpress.runtime.environment import describe_environment
from confpress.runtime.model_file import file_bytes, load_model, save_model, sha256
from confpress.runtime.speech.manifest import load_utterances
from confpress.runtime.validate import validate
from onnxruntime.quantization import QuantType, quantize_dynamic
from results import CALIBRATION, MODEL, TESTS, percent, table

BUDGET = 9_000_000
#: The graph around the weights, which the budget must leave room for.
GRAPH_BYTES = 400_000
CALIBRATION_SECONDS = 600.0
PROBED = 6
RANDOM_ASSIGNMENTS = 20
RESAMPLED = 2000
MIXED_ROW = "mixed 9 MB, weights"


class Choices:
    """What was chosen for the model, made once and only where a row asks for it."""

    def __init__(self, data: Path, work: Path) -> None:
        self.data, self.work = data, work
        self.original = AsrModel.load(data / MODEL)
        everything = load_calibration(data / CALIBRATION, self.original.frontend)
        self.calibration = load_calibration(
            data / CALIBRATION, self.original.frontend, max_seconds=CALIBRATION_SECONDS
        )
        used = {u.path for u in self.calibration.utterances}
        self.held_out = CalibrationSet(
            self.original.frontend,
            tuple(u for u in everything.utterances if u.path not in used)[:12],
        )
        self._inputs: dict[str, LayerInputs] | None = None

    def model(self) -> ir.Model:
        """The model as it is before formats are chosen."""
        recipe, model = preset("default"), load_model(self.data / MODEL)
        for stage in LOSSLESS_STAGES:
            passes = stage.passes(recipe, Findings())
            if not isinstance(passes, Skip):
                run(passes, model)
        return model

    @property
    def inputs(self) -> dict[str, LayerInputs]:
        """What calibration saw."""
        if self._inputs is None:
            self._inputs = observe_inputs(self.model(), self.calibration, rows=512)
        return self._inputs

    def plan(self, name: str, make: Callable[[], FormatPlan]) -> FormatPlan:
        """A plan from WORK, or made and kept there."""
        path = self.work / f"{name}.json"
        if not path.exists():
            make().save(path)
        return FormatPlan.load(path)

    def same(self, form: LayerFormat) -> FormatPlan:
        """One format for every layer."""
        errors = format_errors(self.model(), (), {}, "plain")
        return FormatPlan(layers={each.layer: form for each in errors})

    def weights(self) -> FormatPlan:
        """Weight-only, 4 bits."""
        errors = format_errors(self.model(), FOUR_BIT, self.inputs, "weighted")
        return mofq(errors, FOUR_BIT)

    def plain(self) -> FormatPlan:
        """The same by the paper's plain error of weights."""
        return mofq(format_errors(self.model(), FOUR_BIT, {}, "plain"), FOUR_BIT)

    def both(self) -> FormatPlan:
        """Weights and activations, 8 bits."""
        errors = format_errors(self.model(), EIGHT_BIT_BOTH, self.inputs, "output")
        return mofq(errors, EIGHT_BIT_BOTH)

    def mixed(self) -> FormatPlan:
        """Weight-only under the budget of size."""
        model = self.model()
        features = [each[:, :300] for each in list(self.calibration)[:PROBED]]
        matters = sensitivities(model, features, self.inputs)
        budget = budget_of(model, self.inputs, matters)
        room = BUDGET - GRAPH_BYTES - budget.fixed_bytes
        return allocate(budget.options, max_bytes=room).plan


def with_activations(plan: FormatPlan) -> FormatPlan:
    """Integer frames for every layer that has codes."""
    plain = ("float32", "float16")
    return FormatPlan(
        layers={
            name: form if form.weight in plain else form.model_copy(update={"activations": "int8"})
            for name, form in plan.layers.items()
        }
    )


def models(choices: Choices) -> dict[str, Callable[[Path], None]]:
    """How each row's model is written, by its name."""
    int4, fp4 = FOUR_BIT

    def lowered(
        make: Callable[[], FormatPlan], target: Callable[[], Any]
    ) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            model = choices.model()
            run([Quantize(convolution="float32", plan=make()), target()], model)
            run([MinimiseVersions()], model)
            save_model(model, path)

        return write

    def dynamic(operators: Sequence[str] | None) -> Callable[[Path], None]:
        return lambda path: quantize_dynamic(
            choices.data / MODEL,
            path,
            op_types_to_quantize=operators,
            per_channel=True,
            weight_type=QuantType.QInt8,
        )

    def kept(name: str, make: Callable[[], FormatPlan]) -> Callable[[], FormatPlan]:
        return lambda: choices.plan(name, make)

    weights = kept("mofq-4", choices.weights)
    mixed = kept("mixed", choices.mixed)
    return {
        "quantize_dynamic, MatMul": dynamic(["MatMul", "Gemm"]),
        "quantize_dynamic, all": dynamic(None),
        "int8, frames int8 (cpu)": lowered(lambda: choices.same(EIGHT_BIT_BOTH[0]), LowerCpu),
        "int4 weights": lowered(lambda: choices.same(int4), LowerPortable),
        "FP4 weights": lowered(lambda: choices.same(fp4), LowerPortable),
        "mofq 4-bit weights": lowered(weights, LowerPortable),
        "mofq 4-bit weights, plain criterion": lowered(
            kept("mofq-4-plain", choices.plain), LowerPortable
        ),
        "mofq 4-bit, frames int8 (cpu)": lowered(lambda: with_activations(weights()), LowerCpu),
        MIXED_ROW: lowered(mixed, LowerPortable),
        "mixed 9 MB, frames int8 (cpu)": lowered(lambda: with_activations(mixed()), LowerCpu),
        "mofq 8-bit weights and frames (reference)": lowered(
            kept("mofq-8-both", choices.both), LowerReference
        ),
        "FP8 weights and frames (reference)": lowered(
            lambda: choices.same(EIGHT_BIT_BOTH[1]), LowerReference
        ),
    }


def row(choices: Choices, name: str, write: Callable[[Path], None]) -> dict[str, Any]:
    """One model's size and word errors, from WORK where it is there."""
    folder = choices.work / "".join(c if c.isalnum() else "_" for c in name)
    record, path = folder / "row.json", folder / "model.onnx"
    if record.exists():
        found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return found
    folder.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    write(path)
    made = time.process_time() - started
    original = choices.original
    candidate = AsrModel.load(path, original.frontend, original.tokens)
    found = {"name": name, "bytes": file_bytes(path), "sha256": sha256(path), "seconds": made}
    for part, (where, only) in TESTS.items():
        heard = validate(
            original, candidate, load_utterances(choices.data / where, only), seconds=(2.0,)
        )
        words = heard.speech.words  # type: ignore[union-attr]
        found[part] = {
            "reference": words.reference.rate,
            "rate": words.candidate.rate,
            "difference": words.difference,
            "low": words.difference_interval.low,
            "high": words.difference_interval.high,
        }
    record.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def held_out_errors(choices: Choices) -> dict[str, Any]:
    """Layer-output errors on recordings that the choice did not see."""
    path = choices.work / "held_out.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    model = choices.model()
    seen = observe_inputs(model, choices.held_out, rows=512)
    # Codes come from the calibration's statistics, errors from the rows that were held out.
    inputs = {
        name: LayerInputs(each.mean_square, seen[name].rows)
        for name, each in choices.inputs.items()
    }
    judged = format_errors(model, FOUR_BIT, inputs, "output")
    errors = np.array([each.relative for each in judged])
    plan = choices.plan("mofq-4", choices.weights)
    found = _compared(errors, _columns(plan, judged))
    found["layers"] = len(judged)
    found["formats"] = dict(Counter(form.weight for form in plan.layers.values()))
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def _columns(plan: FormatPlan, judged: Sequence[LayerErrors]) -> np.ndarray:
    return np.array([FOUR_BIT.index(plan.layers[each.layer]) for each in judged])


def _compared(errors: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """Mean relative errors, and mofq's difference to the others with a paired bootstrap."""
    random = np.random.default_rng(0)
    layers = np.arange(len(errors))
    shuffled = [errors[layers, random.permutation(chosen)] for _ in range(RANDOM_ASSIGNMENTS)]
    by_name = {
        "mofq": errors[layers, chosen],
        "int4 only": errors[:, 0],
        "FP4 only": errors[:, 1],
        "random, as often": np.mean(shuffled, axis=0),
    }
    drawn = random.integers(0, len(layers), (RESAMPLED, len(layers)))
    found: dict[str, Any] = {}
    for name, each in by_name.items():
        means = (by_name["mofq"] - each)[drawn].mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        found[name] = {
            "mean": float(each.mean()),
            "difference": float((by_name["mofq"] - each).mean()),
            "low": float(low),
            "high": float(high),
        }
    return found


def latency(choices: Choices, names: Sequence[str], rounds: int) -> dict[str, Any]:
    """Speed of every model against float32, in turn in one run."""
    path = choices.work / "latency.json"
    original = choices.original
    folders = ["".join(c if c.isalnum() else "_" for c in name) for name in names]
    loaded = [
        AsrModel.load(choices.work / each / "model.onnx", original.frontend, original.tokens)
        for each in folders
    ]
    timed = bench([original, *loaded], BenchOptions(rounds=rounds, memory=False))
    found = {
        name: None if timing.speedup is None else timing.speedup.model_dump(mode="json")
        for name, timing in zip(["float32", *names], timed.cases[0].timings, strict=True)
    }
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def document(choices: Choices, rows: Sequence[Mapping[str, Any]], held: Mapping[str, Any]) -> str:
    """The page."""
    kept = choices.work / "latency.json"
    speeds = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    body = [["formats", "size", *(f"WER {p} (change, 95 % interval)" for p in TESTS), "speed"]]
    first = rows[0]
    size = file_bytes(choices.data / MODEL) / 1e6
    body.append(
        ["float32", f"{size:.1f} MB", *(percent(first[p]["reference"]) for p in TESTS), "1"]
    )
    for each in rows:
        cells = [each["name"], f"{each['bytes'] / 1e6:.1f} MB"]
        for part in TESTS:
            f = each[part]
            change, low, high = (100 * f[key] for key in ("difference", "low", "high"))
            cells.append(f"{percent(f['rate'])} ({change:+.2f}, {low:+.2f} to {high:+.2f})")
        speed = speeds.get(each["name"])
        cells.append("" if speed is None else f"{speed['median']:.2f}×")
        body.append(cells)
    errors = [["4-bit weights", "mean relative error", "mofq's difference (95 % interval)"]]
    for name in ("mofq", "int4 only", "FP4 only", "random, as often"):
        f = held[name]
        interval = f"{f['difference']:+.5f} ({f['low']:+.5f} to {f['high']:+.5f})"
        errors.append([name, f"{f['mean']:.5f}", "" if name == "mofq" else interval])
    environment = describe_environment()
    used = ", ".join(f"{number} {form}" for form, number in held["formats"].items())
    return "\n".join(
        [
            "# Number formats on a real model",
            "",
            "Written by `python benchmarks/formats.py DATA WORK --markdown docs/quantisation.md`; "
            "`DATA` as in [data.md](data.md).",
            "",
            *table(body),
            "",
            "Linear layers only: convolutions stay float32. `weights` are stored in codes and "
            "computed with in float32 (target `portable`); `frames int8` computes in integers "
            "(target `cpu` without its fusions); `reference` judges formats without a kernel. "
            "Speed, of runs with `--latency`: 10 s of audio, one thread, models in turn. Scales of "
            "these models are found by plain squared error; E[x²] weighs the errors that mofq and "
            "the mixed plan choose by, and the scales of the layer errors below.",
            f"{environment.cpu}, ONNX Runtime {environment.libraries['onnxruntime']}. SHA-256 of "
            f"the model: `{sha256(choices.data / MODEL)}`.",
            "",
            _budget_note(choices, rows),
            "",
            "Errors of layers' outputs on recordings that the choice did not see, "
            f"{held['layers']} layers (mofq: {used}), intervals by paired bootstrap over layers:",
            "",
            *table(errors),
            "",
        ]
    )


def _budget_note(choices: Choices, rows: Sequence[Mapping[str, Any]]) -> str:
    """How near the mixed plan came to its budget, and of what it is made."""
    plan = FormatPlan.load(choices.work / "mixed.json")
    used = Counter(form.weight for form in plan.layers.values())
    size = next(each["bytes"] for each in rows if each["name"] == MIXED_ROW)
    verdict = "is kept" if size <= BUDGET else "is missed"
    return (
        f"The budget of {BUDGET / 1e6:.1f} MB {verdict}: {size / 1e6:.1f} MB on target portable, "
        f"where {GRAPH_BYTES / 1e6:.1f} MB were set aside for the graph. Of the mixed plan's "
        f"layers, {', '.join(f'{number} are {form}' for form, number in used.most_common())}. Its "
        "errors are estimated as if every layer were alone and the divergence grew in proportion "
        "to the squared error."
    )


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--latency", "rounds", type=int, help="Time the models in this many rounds.")
def main(data: Path, work: Path, markdown: Path | None, rounds: int | None) -> None:
    """Makes what is missing in WORK and writes the page."""
    work.mkdir(parents=True, exist_ok=True)
    choices = Choices(data, work)
    wanted = models(choices)
    rows = []
    for name, write in wanted.items():
        rows.append(row(choices, name, write))
        click.echo(json.dumps(rows[-1]))
    held = held_out_errors(choices)
    if rounds is not None:
        latency(choices, list(wanted), rounds)
    text = document(choices, rows, held)
    click.echo(text)
    if markdown is not None:
        markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
