"""A real model through the whole pipeline: size, word error rate, latency, and what is left.

    python benchmarks/results.py DATA WORK --markdown docs/results.md

DATA is the folder that docs/data.md describes. The result folder, the baseline (ONNX Runtime's
`quantize_dynamic` of MatMul and Gemm, int8 per channel) and `results.json` go into WORK.
Calibration and the two test parts share no speaker, and nothing is chosen on the test parts. Pin it
to a quiet core (`taskset -c 0`): the models take turns in one run, and only ratios are reported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import confpress
from confpress.runtime.benchmark.bench import BenchOptions, BenchResult, bench
from confpress.runtime.environment import describe_environment
from confpress.runtime.model_file import file_bytes, sha256
from confpress.runtime.profile.operators import Profile, profile
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.speech.manifest import Utterance, load_utterances
from confpress.runtime.validation.validate import Validation, validate
from onnxruntime.quantization import QuantType, quantize_dynamic

MODEL = "models/nemo_conformer_ctc_small/model.onnx"
CALIBRATION = "data/librispeech/train_clean_calibration"
TESTS = {
    "AN4 test": ("data/an4", "an4test_clstk"),
    "test-other": ("data/librispeech/test_other", None),
}
BASELINE = "quantize_dynamic"
SHOWN_OPERATORS = 8


def candidates(data: Path, work: Path) -> dict[str, Path]:
    """The models to compare, the original first."""
    original = data / MODEL
    baseline = work / BASELINE / "model.onnx"
    baseline.parent.mkdir(parents=True, exist_ok=True)
    quantize_dynamic(
        original,
        baseline,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    result = work / "result"
    confpress.optimize(original, output=result, calibration=data / CALIBRATION)
    return {
        "float32": original,
        BASELINE: baseline,
        "portable": result / "portable" / "model.onnx",
        "cpu": result / "cpu" / "model.onnx",
    }


def recognition(
    models: dict[str, AsrModel], parts: dict[str, list[Utterance]]
) -> dict[str, dict[str, Validation]]:
    """Every model against the original on every test part."""
    original = next(iter(models.values()))
    return {
        part: {name: validate(original, model, spoken) for name, model in models.items()}
        for part, spoken in parts.items()
    }


def recorded(heard: dict[str, dict[str, Validation]]) -> dict[str, dict[str, object]]:
    """What was heard, for the record."""
    return {
        part: {name: each.model_dump(mode="json") for name, each in found.items()}
        for part, found in heard.items()
    }


def percent(rate: float) -> str:
    """A share in percent."""
    return f"{100 * rate:.2f} %"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown rows; the first is the head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return [head, "|" + "---|" * len(rows[0]), *body]


def summary(
    paths: dict[str, Path], heard: dict[str, dict[str, Validation]], timed: BenchResult
) -> list[str]:
    """One row a model."""
    rows = [["model", "size", *(f"WER {part} (change, 95 % interval)" for part in heard), "speed"]]
    for name, path, timing in zip(paths, paths.values(), timed.cases[0].timings, strict=True):
        row = [name, f"{file_bytes(path) / 1e6:.1f} MB"]
        for part in heard.values():
            words = part[name].speech.words  # type: ignore[union-attr]
            rate = percent(words.candidate.rate)
            low, high = (
                100 * each
                for each in (words.difference_interval.low, words.difference_interval.high)
            )
            change = 100 * words.difference
            row.append(
                rate if name == "float32" else f"{rate} ({change:+.2f}, {low:+.2f} to {high:+.2f})"
            )
        speed = timing.speedup
        row.append(
            "1" if speed is None else f"{speed.median:.2f}× ({speed.low:.2f} to {speed.high:.2f})"
        )
        rows.append(row)
    return table(rows)


def left(profiles: dict[str, Profile]) -> list[str]:
    """Shares of time by operator."""
    lines: list[str] = []
    for name, each in profiles.items():
        shares = [f"{o.operator} {100 * o.share:.0f} %" for o in each.operators[:SHOWN_OPERATORS]]
        lines.append(f"- `{name}`: {', '.join(shares)}")
    return lines


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rounds", default=30, show_default=True, help="Timed runs of each model.")
def main(data: Path, work: Path, markdown: Path | None, rounds: int) -> None:
    """Runs everything and writes results.json and a table."""
    paths = candidates(data, work)
    original = AsrModel.load(paths["float32"])
    models = {n: AsrModel.load(p, original.frontend, original.tokens) for n, p in paths.items()}
    parts = {part: load_utterances(data / path, only) for part, (path, only) in TESTS.items()}
    timed = bench(list(models.values()), BenchOptions(rounds=rounds), parts["test-other"])
    profiles = {
        name: profile(models[name], utterances=parts["test-other"])
        for name in ("float32", "portable", "cpu")
    }
    heard = recognition(models, parts)
    record = {
        "environment": describe_environment().model_dump(mode="json"),
        "sha256": {name: sha256(path) for name, path in paths.items()},
        "bench": timed.model_dump(mode="json"),
        "profiles": {name: each.model_dump(mode="json") for name, each in profiles.items()},
        "recognition": recorded(heard),
    }
    (work / "results.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    environment = describe_environment()
    lines = [
        "# Results on a real model",
        "",
        "Written by `taskset -c 0 python benchmarks/results.py DATA WORK --markdown "
        "docs/results.md`; `DATA` as in [data.md](data.md).",
        "",
        *summary(paths, heard, timed),
        "",
        f"One thread, 10 s of speech, batch 1, {rounds} rounds in turn; {environment.cpu}, "
        f"ONNX Runtime {environment.libraries['onnxruntime']}.",
        f"SHA-256 of the model: `{sha256(paths['float32'])}`.",
        "",
        "Where the remaining time goes, by operator:",
        "",
        *left(profiles),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if markdown is not None:
        markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
