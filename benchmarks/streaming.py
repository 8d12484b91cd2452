"""A streaming Conformer through the pipeline, chunk by chunk, as both exporters write it.

    taskset -c 0 python benchmarks/streaming.py CALIBRATION SPEECH --json streaming.json

A Conformer-CTC with attention and convolution states (seeded, not trained: numbers and times are
measured, not words) is exported by both exporters and optimised, once with every layer in float32
and once in int8 with ranges from CALIBRATION. Each result is compared with the exported file over
200 chunks of SPEECH with carried states, and timed with it in turn, chunk by chunk.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from confpress.models.config import ConformerConfig
from confpress.models.ctc import ConformerCTC
from confpress.models.export import Exporter, export_streaming_onnx
from confpress.models.streaming import StreamingConformerCTC
from confpress.optimizer.api import optimize
from confpress.optimizer.pipeline import INTERCHANGE
from confpress.optimizer.recipe import load_recipe
from confpress.optimizer.text import decibels, milliseconds, percent
from confpress.runtime.asr import AsrModel
from confpress.runtime.inputs import SpeechSource
from confpress.runtime.runner import Runner
from confpress.runtime.session import create_session
from confpress.runtime.speech import Utterance, load_utterances
from confpress.runtime.streaming import StreamComparison, StreamSource, compare_streaming
from rich.console import Console
from rich.table import Table

EXPORTERS: tuple[tuple[Exporter, int], ...] = (("torchscript", 17), ("dynamo", 18))
PRESETS = ("lossless", "default")
#: Encoder frames before a chunk that attention sees: 2.56 s.
LEFT_CONTEXT = 64


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


@dataclass(frozen=True)
class Row:
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


def rows(
    folder: Path, calibration: Path, speech: Sequence[Utterance], layers: int
) -> Iterator[Row]:
    """Every exporter, preset and target."""
    recipe = {"bench": {"enabled": False}, "calibration": {"max_seconds": 120.0}}
    for exporter, opset in EXPORTERS:
        source = folder / f"{exporter}.onnx"
        export_streaming_onnx(model(layers), source, exporter, opset)
        for preset in PRESETS:
            result = optimize(
                source,
                load_recipe(preset_name=preset).replace(recipe),
                output=folder / exporter / preset,
                calibration=calibration,
                quiet=False,
            )
            for name in result.report.validation:
                path = result.interchange if name == INTERCHANGE else result.model(name)
                yield Row(exporter, preset, name, *_compare(source, path, speech))


def _compare(
    source: Path, path: Path, speech: Sequence[Utterance]
) -> tuple[float, float | None, float | None, StreamComparison]:
    original, candidate = (AsrModel.load(each) for each in (source, path))
    runners = [Runner(each.interface, create_session(each.path)) for each in (original, candidate)]
    streams = StreamSource(SpeechSource(original.frontend, speech), runners[0].chunks)
    outputs, stream = compare_streaming(runners[0], runners[1], streams, sizes=(1,), threads=1)
    scores = next(each for each in outputs if each.output == original.interface.scores)
    worst = max(each.max_abs / max(each.scale, 1e-30) for each in outputs)
    return worst, scores.sqnr_db, scores.argmax_agreement, stream


@click.command()
@click.argument("calibration", type=click.Path(path_type=Path, exists=True))
@click.argument("speech", type=click.Path(path_type=Path, exists=True))
@click.option("--layers", default=16, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(calibration: Path, speech: Path, layers: int, json_file: Path | None) -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        found = list(rows(Path(folder), calibration, load_utterances(speech), layers))
    table = Table(box=None)
    for name in (
        *("exporter", "preset", "model", "largest difference", "SQNR", "same best token"),
        *("error first 50", "last 50", "noise", "p50 A", "p50 B", "p99 B", "speed-up"),
    ):
        table.add_column(name)
    for row in found:
        drift, latency = row.stream.drift, row.stream.latency
        assert drift is not None, "there are enough chunks"
        table.add_row(
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
            f"{row.stream.speedup.median:.2f} "
            f"({row.stream.speedup.low:.2f} to {row.stream.speedup.high:.2f})",
        )
    Console(width=180).print(table)
    if json_file is not None:
        told = [{**vars(row), "stream": row.stream.model_dump()} for row in found]
        json_file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
