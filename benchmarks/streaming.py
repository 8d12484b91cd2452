"""A streaming Conformer through the pipeline, chunk by chunk, as both exporters write it.

    taskset -c 0 python benchmarks/streaming.py DATA WORK --markdown docs/streaming.md

A Conformer-CTC with attention and convolution states (seeded, not trained: numbers and times are
measured, not words) is exported by both exporters and optimised, once with every layer in float32
and once in int8. Each result is compared with the exported file over 200 chunks of speech with
carried states, and timed with it in turn, chunk by chunk. DATA is the folder that docs/data.md
describes. Models and measurements are kept in WORK, so that an interrupted run goes on; delete
WORK/measured to measure again. The first run takes about six minutes, a second one two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import torch
from confpress.models.config import ConformerConfig
from confpress.models.ctc import ConformerCTC
from confpress.models.export import Exporter, export_streaming_onnx
from confpress.models.streaming import StreamingConformerCTC
from confpress.optimizer.api import optimize
from confpress.optimizer.recipe.recipe import load_recipe
from confpress.optimizer.text import decibels, milliseconds, percent
from confpress.runtime.environment import describe_environment
from confpress.runtime.inputs import SpeechSource
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.record import Record, read_record
from confpress.runtime.runner import Runner
from confpress.runtime.session import create_session
from confpress.runtime.speech import Utterance, load_utterances
from confpress.runtime.validation.streaming import StreamComparison, StreamSource, compare_streaming

CALIBRATION = "data/librispeech/train_clean_calibration"
SPEECH = "data/librispeech/test_other"
EXPORTERS: tuple[tuple[Exporter, int], ...] = (("torchscript", 17), ("dynamo", 18))
PRESETS = ("lossless", "default")
#: Encoder frames before a chunk that attention sees: 2.56 s.
LEFT_CONTEXT = 64
HEADING = "## Measured"


def model(layers: int) -> StreamingConformerCTC:
    """A Conformer of the small size of Gulati et al. 2020, but for its number of layers."""
    torch.manual_seed(0)
    config = ConformerConfig(
        vocabulary=1024,
        d_model=176,
        layers=layers,
        heads=4,
        ff_dim=704,
        kernel=31,
        subsampling_channels=176,
        causal=True,
    )
    return StreamingConformerCTC(ConformerCTC(config).eval(), LEFT_CONTEXT).eval()


class Row(Record):
    """One result against the exported file, over all chunks.

    `relative` is the largest difference of any output as a share of its largest value.
    """

    exporter: str
    preset: str
    model: str
    relative: float
    sqnr_db: float | None
    agreement: float | None
    stream: StreamComparison


def rows(data: Path, work: Path, layers: int) -> Iterator[Row]:
    """Every exporter, preset and target."""
    speech = load_utterances(data / SPEECH)
    for exporter, opset in EXPORTERS:
        source = work / f"{exporter}.onnx"
        if not source.is_file():
            export_streaming_onnx(model(layers), source, exporter, opset)
        for preset in PRESETS:
            out = _optimised(source, work / exporter / preset, preset, data / CALIBRATION)
            for name, path in (
                ("interchange", out / "interchange.onnx"),
                ("portable", out / "portable" / "model.onnx"),
                ("cpu", out / "cpu" / "model.onnx"),
            ):
                kept = work / "measured" / f"{exporter}-{preset}-{name}.json"
                if not kept.is_file():
                    row = _compare(source, path, speech, exporter, preset, name)
                    kept.parent.mkdir(exist_ok=True)
                    kept.write_text(row.model_dump_json(indent=1) + "\n", encoding="utf-8")
                yield read_record(Row, kept, "measurement of this benchmark")


def _optimised(source: Path, out: Path, preset: str, calibration: Path) -> Path:
    """The result folder; one that is there is whole."""
    if not out.is_dir():
        recipe = {"bench": {"enabled": False}, "calibration": {"max_seconds": 120.0}}
        optimize(
            source,
            load_recipe(preset_name=preset).replace(recipe),
            output=out,
            calibration=calibration,
            quiet=False,
        )
    return out


def _compare(
    source: Path, path: Path, speech: Sequence[Utterance], exporter: str, preset: str, name: str
) -> Row:
    original, candidate = (AsrModel.load(each) for each in (source, path))
    runners = [Runner(each.interface, create_session(each.path)) for each in (original, candidate)]
    streams = StreamSource(SpeechSource(original.frontend, speech), runners[0].chunks)
    outputs, stream = compare_streaming(runners[0], runners[1], streams, sizes=(1,), threads=1)
    scores = next(each for each in outputs if each.output == original.interface.scores)
    return Row(
        exporter=exporter,
        preset=preset,
        model=name,
        relative=max(each.max_abs / max(each.scale, 1e-30) for each in outputs),
        sqnr_db=scores.sqnr_db,
        agreement=scores.argmax_agreement,
        stream=stream,
    )


def _line(row: Row) -> str:
    drift, latency, speedup = row.stream.drift, row.stream.latency, row.stream.speedup
    assert drift is not None, "there are enough chunks"
    cells = (
        row.exporter,
        row.preset,
        row.model,
        f"{row.relative:.1e}",
        decibels(row.sqnr_db),
        "" if row.agreement is None else percent(row.agreement),
        *(f"{each:.2e}" for each in (drift.first, drift.last, drift.noise)),
        milliseconds(latency["reference"].p50_ms),
        milliseconds(latency["candidate"].p50_ms),
        milliseconds(latency["candidate"].p99_ms),
        f"{speedup.median:.2f}× ({speedup.low:.2f} to {speedup.high:.2f})",
    )
    return f"| {' | '.join(cells)} |"


def section(found: Sequence[Row], layers: int) -> str:
    """The last section of docs/streaming.md."""
    columns = (
        *("exporter", "preset", "model", "largest difference", "SQNR", "same best token"),
        *("error first 50", "last 50", "noise", "p50 original", "p50", "p99", "speed-up"),
    )
    return "\n".join(
        (
            HEADING,
            "",
            "Written by `taskset -c 0 python benchmarks/streaming.py DATA WORK --markdown "
            f"docs/streaming.md`: a seeded Conformer of width 176 with {layers} blocks, keys and "
            f"values of {LEFT_CONTEXT} encoder frames and causal convolutions; 200 chunks of "
            "0.64 s, each result against the exported file, in turn, one thread; "
            f'{describe_environment().cpu}. "Largest difference" is that of any output, states '
            "among them, as a share of the output's largest value; errors are relative to the "
            "scores' size.",
            "",
            f"| {' | '.join(columns)} |",
            "|" + "---|" * len(columns),
            *map(_line, found),
            "",
        )
    )


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("work", type=click.Path(path_type=Path, file_okay=False))
@click.option("--layers", default=4, show_default=True)
@click.option("--markdown", type=click.Path(dir_okay=False, exists=True, path_type=Path))
def main(data: Path, work: Path, layers: int, markdown: Path | None) -> None:
    """Prints the table; `--markdown` replaces the last section of docs/streaming.md."""
    work.mkdir(parents=True, exist_ok=True)
    text = section(list(rows(data, work, layers)), layers)
    print(text)
    if markdown is not None:
        before, _, _ = markdown.read_text(encoding="utf-8").partition(HEADING)
        markdown.write_text(before + text, encoding="utf-8")


if __name__ == "__main__":
    main()
