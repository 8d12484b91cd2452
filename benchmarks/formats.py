"""Number formats on a real model: size, word error rate and latency by choice of formats.

    python benchmarks/formats.py DATA WORK --markdown docs/quantisation.md

DATA is the folder that docs/data.md describes. Formats are chosen, and layers repaired, on
`train_clean_calibration` and on AN4's training speakers without fourteen of them; layer errors and
the column "selection" are of recordings that the choice did not see, those fourteen speakers among
them; the test parts are only reported on. Every model and every row is kept in WORK and taken from
there by the next run. `--latency` adds the speed, models in turn in one run: pin that to a quiet
core. `--only TEXT` makes the rows whose name contains a text, and no page; `--made` writes the page
of what WORK holds. Everything takes about 45 minutes on one core.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx_ir as ir
from confpress.optimizer.calibration import calibrated_ranges
from confpress.optimizer.formats.choose import choose_formats
from confpress.optimizer.formats.repair import Repair, repair
from confpress.optimizer.formats.sensitivity import EIGHT_BIT_BOTH, FOUR_BIT, Known, observe_inputs
from confpress.optimizer.formats.wish import Formats, Wish, with_integer_frames
from confpress.optimizer.recipe.recipe import preset
from confpress.optimizer.stages import LOSSLESS_STAGES, Findings, Skip
from confpress.passes.base import run
from confpress.passes.format_choice import (
    LayerErrors,
    LayerInputs,
    eligible_layers,
    format_errors,
    mofq,
)
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.lower.cpu import LowerCpu
from confpress.passes.lower.portable import LowerPortable
from confpress.passes.lower.reference import LowerReference
from confpress.passes.quantize import Range
from confpress.passes.rewrites.versions import MinimiseVersions
from confpress.runtime.benchmark.bench import BenchOptions, bench
from confpress.runtime.cache import Cache
from confpress.runtime.calibration.calibrate import CalibrationSet
from confpress.runtime.environment import describe_environment
from confpress.runtime.model_file import file_bytes, load_model, save_model, sha256
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.speech.manifest import Utterance, load_utterances
from confpress.runtime.validation.validate import validate
from format_cost import RECORD
from format_cost import SECONDS as COST_SECONDS
from onnxruntime.quantization import QuantType, quantize_dynamic
from results import CALIBRATION, MODEL, TESTS, percent, table

AN4 = "data/an4"
SELECTION = "selection"
BUDGET = 9_000_000
#: Seconds of each of the two calibration parts, and of what is held out.
CALIBRATION_SECONDS = 300.0
HELD_OUT_SECONDS = 150.0
#: Speakers of AN4's training part that nothing is chosen on.
HELD_OUT_SPEAKERS = 14
RANDOM_ASSIGNMENTS = 20
HELD_OUT = "held_out.json"
#: What the mixed plan may cost, in points, and on which part.
AIMED, MOST_POINTS = "AN4 test", 0.5
WIDE = ("float32", "float16", "int8", "fp8")
RESAMPLED = 2000
MIXED, MIXED_ROW = "mixed 9 MB", "mixed 9 MB, repaired"
MOFQ_ROW = "mofq 4-bit weights"
#: What mofq is compared with, in words, on the same utterances.
RIVALS = ("int4 weights", "FP4 weights", "random 4-bit weights")


class Choices:
    """What was chosen for the model, made once and only where a row asks for it."""

    def __init__(self, data: Path, work: Path) -> None:
        self.data, self.work = data, work
        self.original = AsrModel.load(data / MODEL)
        clean = _shuffled(load_utterances(data / CALIBRATION))
        an4 = _shuffled(load_utterances(data / AN4, "an4_clstk"))
        speakers = sorted({str(u.speaker) for u in an4})
        held = set(_shuffled(speakers)[:HELD_OUT_SPEAKERS])
        self.selection = _seconds([u for u in an4 if u.speaker in held], HELD_OUT_SECONDS)
        used = _seconds(clean, CALIBRATION_SECONDS)
        seen = _seconds([u for u in an4 if u.speaker not in held], CALIBRATION_SECONDS)
        rest = _seconds([u for u in clean if u not in used], HELD_OUT_SECONDS)
        self.calibration = CalibrationSet(self.original.frontend, tuple(_shuffled([*used, *seen])))
        self.held_out = CalibrationSet(self.original.frontend, (*rest, *self.selection))
        self.known = Known(Cache(work / "cache"), sha256(data / MODEL))
        self._inputs: dict[str, LayerInputs] | None = None
        self._ranges: dict[str, Range] | None = None

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
            self._inputs = observe_inputs(
                self.model(), self.calibration, rows=512, known=self.known
            )
        return self._inputs

    @property
    def ranges(self) -> dict[str, Range]:
        """Of int8 convolutions."""
        if self._ranges is None:
            self._ranges = calibrated_ranges(
                self.model(), self.calibration, preset("default"), self.known.cache, self.known.key
            )
        return self._ranges

    def plan(self, name: str, make: Callable[[], FormatPlan]) -> FormatPlan:
        """A plan from WORK, or made and kept there."""
        path = self.work / f"{name}.json"
        if not path.exists():
            make().save(path)
        return FormatPlan.load(path)

    def formats(self, plan: FormatPlan, how: Repair | None) -> Formats:
        """A plan with what carries it out well."""
        if how:  # it finds the scales, too
            return Formats(plan, {}, repair(self.model(), self.calibration, plan, how))
        return Formats(plan, {name: each.mean_square for name, each in self.inputs.items()})

    def same(self, form: LayerFormat) -> FormatPlan:
        """One format for every layer."""
        return FormatPlan(layers={layer.id: form for layer in eligible_layers(self.model())})

    def weights(self) -> FormatPlan:
        """Weight-only, 4 bits."""
        errors = format_errors(self.model(), FOUR_BIT, self.inputs, "weighted")
        return mofq(errors, FOUR_BIT)

    def plain(self) -> FormatPlan:
        """The same by the paper's plain error of weights."""
        return mofq(format_errors(self.model(), FOUR_BIT, {}, "plain"), FOUR_BIT)

    def random(self) -> FormatPlan:
        """Each format as often as mofq uses it, on layers drawn at random."""
        chosen = self.plan("mofq-4", self.weights).layers
        forms = _shuffled(list(chosen.values()))
        return FormatPlan(layers=dict(zip(chosen, forms, strict=True)))

    def both(self) -> FormatPlan:
        """Weights and activations, 8 bits."""
        errors = format_errors(self.model(), EIGHT_BIT_BOTH, self.inputs, "output")
        return mofq(errors, EIGHT_BIT_BOTH)

    def mixed(self) -> FormatPlan:
        """Weight-only under the budget of size."""
        wish = Wish("mixed", integer_frames=False, max_bytes=BUDGET, ranges=self.ranges)
        found = choose_formats(self.model(), self.calibration, wish, self.known)
        (self.work / "mixed.txt").write_text(" ".join(found.notes), encoding="utf-8")
        return found.plan


def _shuffled(items: Sequence[Any]) -> list[Any]:
    mixed = list(items)
    random.Random(0).shuffle(mixed)
    return mixed


def _seconds(utterances: Sequence[Utterance], limit: float) -> list[Utterance]:
    """The first ones that fit."""
    ends = np.cumsum([u.seconds for u in utterances])
    return list(utterances[: int((ends <= limit).sum())])


def models(choices: Choices) -> dict[str, Callable[[Path], None]]:
    """How each row's model is written, by its name."""
    int4, fp4 = FOUR_BIT

    def lowered(
        make: Callable[[], FormatPlan],
        target: Callable[[], Any],
        how: Repair | None = None,
        convolutions: bool = False,
    ) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            quantize = choices.formats(make(), how).quantize
            if convolutions:
                quantize = dataclasses.replace(quantize, convolution="int8", ranges=choices.ranges)
            model = choices.model()
            run([quantize, target(), MinimiseVersions()], model)
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

    def same(form: LayerFormat) -> Callable[[], FormatPlan]:
        return lambda: choices.same(form)

    weights, mixed = kept("mofq-4", choices.weights), kept("mixed", choices.mixed)
    return {
        "quantize_dynamic, MatMul": dynamic(["MatMul", "Gemm"]),
        "quantize_dynamic, all": dynamic(None),
        "int8, frames int8 (cpu)": lowered(same(EIGHT_BIT_BOTH[0]), LowerCpu),
        "int4 weights": lowered(same(int4), LowerPortable),
        "FP4 weights": lowered(same(fp4), LowerPortable),
        "random 4-bit weights": lowered(kept("random-4", choices.random), LowerPortable),
        MOFQ_ROW: lowered(weights, LowerPortable),
        "mofq 4-bit weights, plain criterion": lowered(
            kept("mofq-4-plain", choices.plain), LowerPortable
        ),
        "int4 weights, repaired": lowered(same(int4), LowerPortable, "gptq"),
        "FP4 weights, repaired": lowered(same(fp4), LowerPortable, "gptq"),
        "mofq 4-bit weights, repaired": lowered(weights, LowerPortable, "gptq"),
        "mofq 4-bit weights, repaired, biases too": lowered(weights, LowerPortable, "both"),
        "mofq 4-bit repaired, frames int8 (cpu)": lowered(
            lambda: integer_frames(weights()), LowerCpu, "gptq"
        ),
        MIXED: lowered(mixed, LowerPortable, None, True),
        MIXED_ROW: lowered(mixed, LowerPortable, "gptq", True),
        "mixed 9 MB repaired, frames int8 (cpu)": lowered(
            lambda: integer_frames(mixed()), LowerCpu, "gptq", True
        ),
        "mofq 8-bit weights and frames (reference)": lowered(
            kept("mofq-8-both", choices.both), LowerReference
        ),
        "FP8 weights and frames (reference)": lowered(same(EIGHT_BIT_BOTH[1]), LowerReference),
    }


def integer_frames(plan: FormatPlan) -> FormatPlan:
    """The plan with int8 frames."""
    return FormatPlan(
        layers={name: with_integer_frames(form) for name, form in plan.layers.items()}
    )


def _folder(choices: Choices, name: str) -> Path:
    return choices.work / "".join(c if c.isalnum() else "_" for c in name)


def _words(reference: AsrModel, candidate: AsrModel, speech: Sequence[Utterance]) -> dict[str, Any]:
    """Word errors of two models on the same utterances; intervals draw speakers."""
    heard = validate(reference, candidate, speech, seconds=(2.0,))
    words = heard.speech.words  # type: ignore[union-attr]
    return {
        "reference": words.reference.rate,
        "rate": words.candidate.rate,
        "difference": words.difference,
        "low": words.difference_interval.low,
        "high": words.difference_interval.high,
    }


def row(choices: Choices, name: str, write: Callable[[Path], None]) -> dict[str, Any]:
    """One model's size and word errors, from WORK where it is there."""
    folder = _folder(choices, name)
    record, path = folder / "row.json", folder / "model.onnx"
    found: dict[str, Any] = {}
    if path.exists() and record.exists():
        found = json.loads(record.read_text(encoding="utf-8"))
    else:
        folder.mkdir(parents=True, exist_ok=True)
        started = time.process_time()
        write(path)
        found = {
            "name": name,
            "bytes": file_bytes(path),
            "sha256": sha256(path),
            "seconds": time.process_time() - started,
        }
        record.write_text(json.dumps(found, indent=1), encoding="utf-8")
    original = choices.original
    candidate = AsrModel.load(path, original.frontend, original.tokens)
    parts = {
        part: load_utterances(choices.data / where, only) for part, (where, only) in TESTS.items()
    }
    for part, speech in ({SELECTION: choices.selection} | parts).items():
        if part not in found:
            found[part] = _words(original, candidate, speech)
            record.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def is_made(choices: Choices, name: str) -> bool:
    """Whether a row is in WORK."""
    path = _folder(choices, name) / "row.json"
    return path.exists() and {SELECTION, *TESTS} <= set(json.loads(path.read_text()))


def rivals(choices: Choices) -> dict[str, Any]:
    """mofq's word errors against other assignments of the same bits, by test part."""
    path = choices.work / "rivals.json"
    found: dict[str, Any] = {}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
    original = choices.original
    loaded = {
        name: AsrModel.load(
            _folder(choices, name) / "model.onnx", original.frontend, original.tokens
        )
        for name in (MOFQ_ROW, *RIVALS)
    }
    for name in RIVALS:
        for part, (where, only) in TESTS.items():
            if part not in found.setdefault(name, {}):
                speech = load_utterances(choices.data / where, only)
                found[name][part] = _words(loaded[name], loaded[MOFQ_ROW], speech)
                path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def held_out_errors(choices: Choices) -> dict[str, Any]:
    """Layer-output errors on recordings that the choice did not see."""
    path = choices.work / HELD_OUT
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
    generator = np.random.default_rng(0)
    layers = np.arange(len(errors))
    shuffled = [errors[layers, generator.permutation(chosen)] for _ in range(RANDOM_ASSIGNMENTS)]
    by_name = {
        "mofq": errors[layers, chosen],
        "int4 only": errors[:, 0],
        "FP4 only": errors[:, 1],
        "random, as often": np.mean(shuffled, axis=0),
    }
    drawn = generator.integers(0, len(layers), (RESAMPLED, len(layers)))
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
    loaded = [
        AsrModel.load(_folder(choices, each) / "model.onnx", original.frontend, original.tokens)
        for each in names
    ]
    timed = bench([original, *loaded], BenchOptions(rounds=rounds, memory=False))
    found = {
        name: None if timing.speedup is None else timing.speedup.model_dump(mode="json")
        for name, timing in zip(["float32", *names], timed.cases[0].timings, strict=True)
    }
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def document(
    choices: Choices,
    rows: Sequence[Mapping[str, Any]],
    held: Mapping[str, Any] | None,
    paired: Mapping[str, Any],
) -> str:
    """The page."""
    environment = describe_environment()
    return "\n".join(
        [
            "# Number formats on a real model",
            "",
            "Written by `python benchmarks/formats.py DATA WORK --markdown docs/quantisation.md`; "
            "`DATA` as in [data.md](data.md).",
            "",
            *table(_rows(choices, rows)),
            "",
            "Linear layers only, except in the rows `mixed`, whose subsampling convolutions are "
            "int8: convolutions stay float32 elsewhere. `weights` are stored in codes and computed "
            "with in float32 (target `portable`); `frames int8` computes in integers (target "
            "`cpu` without its fusions); `reference` judges formats without a kernel. `repaired`: "
            "GPTQ's compensation (`--repair gptq`); `biases too`: on inputs less their mean, and "
            "bias correction (`--repair both`). "
            f"Calibration: {CALIBRATION_SECONDS:g} s of `train_clean_calibration` and as much of "
            "AN4's training speakers; `selection`: fourteen of those speakers that calibration "
            "has not heard. Intervals of changes draw speakers. Speed, of runs with `--latency`: "
            "10 s of audio, one thread, models in turn.",
            f"{environment.cpu}, ONNX Runtime {environment.libraries['onnxruntime']}. SHA-256 of "
            f"the model: `{sha256(choices.data / MODEL)}`.",
            "",
            *_budget_note(choices, rows),
            *_cost_note(choices),
            *_held_out_part(held),
            *_paired_part(paired),
        ]
    )


def _rows(choices: Choices, rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    kept = choices.work / "latency.json"
    speeds = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    parts = (SELECTION, *TESTS)
    body = [["formats", "size", *(f"WER {p} (change, 95 % interval)" for p in parts), "speed"]]
    size = file_bytes(choices.data / MODEL) / 1e6
    exact = (percent(rows[0][part]["reference"]) for part in parts)
    body.append(["float32", f"{size:.1f} MB", *exact, "1"])
    for each in rows:
        words = (f"{percent(each[p]['rate'])} ({_change(each[p])})" for p in parts)
        speed = speeds.get(each["name"])
        told = "" if speed is None else f"{speed['median']:.2f}×"
        body.append([each["name"], f"{each['bytes'] / 1e6:.2f} MB", *words, told])
    return body


def _held_out_part(held: Mapping[str, Any] | None) -> list[str]:
    if held is None:
        return []
    used = ", ".join(f"{number} {form}" for form, number in held["formats"].items())
    return [
        "Errors of layers' outputs on recordings that the choice did not see, "
        f"{held['layers']} layers (mofq: {used}), intervals by paired bootstrap over layers:",
        "",
        *table(_held_out_rows(held)),
        "",
    ]


def _paired_part(paired: Mapping[str, Any]) -> list[str]:
    if not paired:
        return []
    return [
        "Word errors of mofq less those of the others, without repairs, paired on the same "
        "utterances:",
        "",
        *table(_paired_rows(paired)),
        "",
    ]


def _held_out_rows(held: Mapping[str, Any]) -> list[list[str]]:
    body = [["4-bit weights", "mean relative error", "mofq's difference (95 % interval)"]]
    for name in ("mofq", "int4 only", "FP4 only", "random, as often"):
        f = held[name]
        interval = f"{f['difference']:+.5f} ({f['low']:+.5f} to {f['high']:+.5f})"
        body.append([name, f"{f['mean']:.5f}", "" if name == "mofq" else interval])
    return body


def _paired_rows(paired: Mapping[str, Any]) -> list[list[str]]:
    body = [["against", *(f"{part} (points, 95 % interval)" for part in TESTS)]]
    return body + [
        [name, *(_change(found[part]) for part in TESTS)] for name, found in paired.items()
    ]


def _change(found: Mapping[str, float]) -> str:
    """``+0.52, -0.80 to +1.81`` points."""
    change, low, high = (100 * found[key] for key in ("difference", "low", "high"))
    return f"{change:+.2f}, {low:+.2f} to {high:+.2f}"


def _cost_note(choices: Choices) -> list[str]:
    """What choosing costs for a large model, where that was measured."""
    path = choices.work / RECORD
    if not path.exists():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    told = {
        step: f"{kept[step]['processor_seconds']:.0f} s of one core and at most "
        f"{kept[step]['peak_bytes'] / kept['bytes']:.1f} times the file in memory"
        for step in ("choose", "compensate")
    }
    ratio = kept["compensate"]["processor_seconds"] / kept["choose"]["processor_seconds"]
    return [
        f"Choosing int4 or FP4 for each layer of a FastConformer with 109 million parameters "
        f"({kept['bytes'] / 1e6:.0f} MB) on {COST_SECONDS:g} s of speech takes {told['choose']}; "
        f"GPTQ's compensation of the same layers {told['compensate']}: {ratio:.1f} times as long "
        "(`python benchmarks/format_cost.py DATA WORK`).",
        "",
    ]


def _budget_note(choices: Choices, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How near the mixed plan came to its budget, and of what it is made."""
    mixed = [each for each in rows if each["name"] in (MIXED, MIXED_ROW)]
    if not mixed:
        return []
    plan = FormatPlan.load(choices.work / "mixed.json")
    used = Counter(
        f"{form.weight} of {form.block}" if form.block else form.weight
        for form in plan.layers.values()
    )
    came = "; ".join(f"{each['name']}: {_aim(each)}" for each in mixed)
    notes = (choices.work / "mixed.txt").read_text(encoding="utf-8")
    wide = [name for name, form in plan.layers.items() if form.weight in WIDE]
    return [
        f"The budget was {BUDGET / 1e6:.1f} MB on target portable, the aim at most "
        f"+{MOST_POINTS:g} points on {AIMED}. {came}. "
        f"Layers of the mixed plan by format and block: "
        f"{', '.join(f'{number} {form}' for form, number in used.most_common())}. {notes} Layers "
        f"that keep 8 bits or more: {', '.join(wide)}.",
        "",
    ]


def _aim(row: Mapping[str, Any]) -> str:
    """``8.99 MB, the aim is reached with +0.10, -0.20 to +0.40 points``."""
    reached = 100 * row[AIMED]["difference"] <= MOST_POINTS and row["bytes"] <= BUDGET
    verdict = "reached" if reached else "missed"
    return f"{row['bytes'] / 1e6:.2f} MB, the aim is {verdict} with {_change(row[AIMED])} points"


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--latency", "rounds", type=int, help="Time the models in this many rounds.")
@click.option("--only", metavar="TEXT", help="Make only the rows that contain this text.")
@click.option("--made", is_flag=True, help="Make nothing: the page of what is there.")
def main(
    data: Path,
    work: Path,
    markdown: Path | None,
    rounds: int | None,
    only: str | None,
    made: bool,
) -> None:
    """Makes what is missing in WORK and writes the page."""
    work.mkdir(parents=True, exist_ok=True)
    choices = Choices(data, work)
    wanted = models(choices)
    if made:
        wanted = {name: write for name, write in wanted.items() if is_made(choices, name)}
    rows = []
    for name, write in wanted.items():
        if only is None or only in name:
            rows.append(row(choices, name, write))
            click.echo(json.dumps(rows[-1]))
    if only is not None:
        return
    held = held_out_errors(choices) if not made or (work / HELD_OUT).exists() else None
    paired = rivals(choices) if {MOFQ_ROW, *RIVALS} <= set(wanted) else {}
    if rounds is not None:
        latency(choices, list(wanted), rounds)
    text = document(choices, rows, held, paired)
    click.echo(text)
    if markdown is not None:
        markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
