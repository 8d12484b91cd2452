"""``confpress bench``: latency and memory side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import (
    PATH,
    SECONDS,
    frontend_option,
    json_option,
    kernels_option,
    speech_option,
    subset_option,
)

if TYPE_CHECKING:
    from ...runtime.session import Provider


@click.command("bench", short_help="Measure latency and memory of models side by side.")
@click.argument("models", metavar="MODEL...", type=PATH, nargs=-1, required=True)
@click.option(
    "--seconds",
    type=SECONDS,
    multiple=True,
    default=(10.0,),
    show_default=True,
    metavar="S",
    help="Duration of the audio; may be given several times.",
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1,),
    show_default=True,
    metavar="N",
    help="Batch size; may be given several times.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1,),
    show_default=True,
    metavar="N",
    help="Threads of ONNX Runtime; may be given several times.",
)
@click.option(
    "--streams",
    type=click.IntRange(min=1),
    multiple=True,
    metavar="N",
    help="Also measure throughput: utterances a second while N threads call the model at the same "
    "time; may be given several times.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=3),
    default=20,
    show_default=True,
    metavar="N",
    help="Timed runs of each model in each case.",
)
@speech_option
@subset_option
@kernels_option
@click.option(
    "--provider",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Execution provider of ONNX Runtime; with `cuda` inputs and outputs stay in the GPU's "
    "memory.",
)
@click.option(
    "--cuda-graph",
    is_flag=True,
    help="With --provider cuda: the GPU repeats a recorded run, so that launches take no time.",
)
@click.option(
    "--compare",
    "stored_file",
    type=PATH,
    metavar="FILE",
    help="What --json wrote in an earlier run with the same first MODEL: says which speed-ups "
    "changed by more than the noise.",
)
@frontend_option
@json_option
def command(
    models: tuple[Path, ...],
    seconds: tuple[float, ...],
    batches: tuple[int, ...],
    threads: tuple[int, ...],
    streams: tuple[int, ...],
    rounds: int,
    data: Path | None,
    subset: str | None,
    kernels: bool,
    provider: Provider,
    cuda_graph: bool,
    stored_file: Path | None,
    frontend: Path | None,
    json_file: Path | None,
) -> None:
    """Measures every MODEL in turn within one run; the first is what the others compare with.

    Times are medians. The speed-up is the median of the ratio within a round, with its 95 %
    bootstrap interval. A difference is told where even the 99 % interval does not contain 1.

    \b
    Examples:
      confpress bench model.onnx out/portable/model.onnx out/cpu/model.onnx
      confpress bench a.onnx b.onnx --seconds 1 --seconds 30 --threads 1 --threads 4
      confpress bench a.onnx b.onnx --streams 1 --streams 8
      confpress bench a.onnx b.onnx --compare last-release.json
    """  # noqa: D301 (\b tells click to keep lines)
    from ...runtime.benchmark.bench import BenchOptions, bench
    from ...runtime.recognition.asr import AsrModel
    from ...runtime.speech.manifest import load_utterances
    from ..console import check_output_file, write_json
    from ..report.bench_compare import compare_benchmarks, load_benchmark
    from ..tables import print_benchmark, print_changes

    if json_file is not None:
        check_output_file(json_file, [*models, data, frontend])
    stored = load_benchmark(stored_file) if stored_file else None
    utterances = load_utterances(data, subset) if data else []
    options = BenchOptions(
        seconds=seconds,
        batches=batches,
        threads=threads,
        rounds=rounds,
        provider=provider,
        cuda_graph=cuda_graph,
        kernels=kernels,
        streams=streams,
    )
    found = bench([AsrModel.load(m, frontend) for m in models], options, utterances)
    write_json(json_file, found)
    print_benchmark(found)
    if stored is not None:
        print_changes(compare_benchmarks(stored, found))
