"""Tables that several commands print."""

from __future__ import annotations

from collections.abc import Sequence

from ..runtime.benchmark.bench import BenchCase, BenchModel, BenchResult, Timing
from ..runtime.benchmark.throughput import Throughput
from ..runtime.benchmark.timing import Ratio
from ..runtime.validation.compare import OutputDifference
from ..runtime.validation.layerwise import ModuleDifference
from ..runtime.validation.streaming import ChunkLatency, StreamComparison
from ..runtime.validation.validate import Validation
from .console import Column, print_line, print_table
from .report.bench_compare import Change
from .report.comparison import Comparison
from .report.schema import Report, SummaryRow
from .text import (
    decibels,
    drift,
    error_kinds,
    milliseconds,
    percent,
    percent_interval,
    points,
    points_interval,
    seconds,
    size,
    times,
)

_SUMMARY = (
    Column("model"),
    Column("size", number=True),
    Column("WER", number=True),
    Column("95 % interval", number=True),
    Column("change, points", number=True),
    Column("p50 latency", number=True),
    Column("speed-up", number=True),
)

_GPU_COLUMNS = ("GPU peak", "GPU held")


def print_summary(report: Report) -> None:
    """Size, words and latency of the original and the results."""
    print_table("", _SUMMARY, [_row(row) for row in report.summary])
    _print_notes(report.summary)


def print_comparison(found: Comparison) -> None:
    """The same of several results, and what keeps their figures from being compared."""
    rows = [[*_row(row.summary), "not beaten" if row.unbeaten else ""] for row in found.rows]
    print_table("", [*_SUMMARY, Column("")], rows)
    _print_notes([row.summary for row in found.rows])
    for note in found.notes:
        print_line(note)


def _print_notes(rows: Sequence[SummaryRow]) -> None:
    """What figures are of, each sentence once."""
    for note in dict.fromkeys(row.note for row in rows if row.note is not None):
        print_line(note)


def _row(row: SummaryRow) -> list[str]:
    return [
        row.name,
        size(row.bytes),
        "–" if row.wer is None else percent(row.wer),
        "" if row.wer_interval is None else percent_interval(row.wer_interval),
        "" if row.wer_increase is None else points_interval(row.wer_increase),
        "–" if row.p50_ms is None else milliseconds(row.p50_ms),
        "" if row.faster is None else times(row.faster),
    ]


def print_outputs(found: Validation) -> None:
    """How far the outputs of two models are apart."""
    if found.outputs_skipped is not None:
        print_line(f"Outputs were not compared: {found.outputs_skipped}.")
        return
    print_table(
        "outputs",
        [
            Column("output"),
            Column("batch", number=True),
            Column("frames", number=True),
            Column("max. difference", number=True),
            Column("of largest value", number=True),
            Column("SQNR", number=True),
            Column("cosine", number=True),
            Column("same best token", number=True),
        ],
        [_output_row(row) for row in found.outputs],
    )


def _output_row(row: OutputDifference) -> list[str]:
    return [
        row.output,
        str(row.batch),
        str(row.frames),
        f"{row.max_abs:.3g}",
        f"{row.scale:.3g}",
        decibels(row.sqnr_db),
        f"{row.cosine:.6f}",
        "" if row.argmax_agreement is None else percent(row.argmax_agreement),
    ]


def print_stream(found: StreamComparison | None) -> None:
    """Streaming models along a stream: time of a chunk, and whether errors grow."""
    if found is None:
        return
    print_table(
        f"{found.chunks} chunks of {milliseconds(1e3 * found.seconds)} with carried states, "
        f"{found.threads} thread{'' if found.threads == 1 else 's'}",
        [
            Column("model"),
            Column("p50", number=True),
            Column("p90", number=True),
            Column("p99", number=True),
            Column("of the chunk's time", number=True),
            Column("speed-up", number=True),
            Column("95 % interval", number=True),
        ],
        [
            [*_latency_row("A", found.latency["reference"]), "", ""],
            [
                *_latency_row("B", found.latency["candidate"]),
                times(found.speedup.median),
                _interval(found.speedup),
            ],
        ],
    )
    print_line(drift(found.drift))


def _latency_row(name: str, row: ChunkLatency) -> list[str]:
    quantiles = [milliseconds(value) for value in (row.p50_ms, row.p90_ms, row.p99_ms)]
    return [name, *quantiles, percent(row.share)]


def print_modules(found: Sequence[ModuleDifference]) -> None:
    """Where the error enters, module by module."""
    print_table(
        "where the error enters",
        [
            Column("module"),
            Column("what it is"),
            Column("own error", number=True),
            Column("error of the stream after it", number=True),
        ],
        [
            [each.id, each.kind.replace("_", " "), decibels(each.own_db), decibels(each.total_db)]
            for each in found
        ],
    )


def print_speech(found: Validation) -> None:
    """What two models heard."""
    speech = found.speech
    if speech is None:
        print_line("No words were compared: no speech was given.")
        return
    rates = (("words", speech.words), ("characters", speech.characters))
    rows = [
        [
            name,
            percent(rate.reference.rate),
            percent_interval(rate.reference.interval),
            percent(rate.candidate.rate),
            percent_interval(rate.candidate.interval),
            points(rate.difference),
            points_interval(rate.difference_interval),
        ]
        for name, rate in rates
        if rate is not None
    ]
    if rows:
        print_table(
            "error rates",
            [
                Column(""),
                Column("A", number=True),
                Column("95 % interval", number=True),
                Column("B", number=True),
                Column("95 % interval", number=True),
                Column("change, points", number=True),
                Column("95 % interval", number=True),
            ],
            rows,
        )
    for name, rate in rates:
        if rate is not None:
            kinds = (error_kinds(each) for each in (rate.reference, rate.candidate))
            print_line("{}: A {}; B {}.".format(name, *kinds))
    print_line(
        f"{speech.changed} of {speech.utterances} utterances ({seconds(speech.seconds)}) came out "
        f"different; B against A's words: {percent(speech.disagreement.rate)} of words."
    )
    if speech.worst:
        print_table(
            "utterances that lost most",
            [Column("utterance"), Column("said"), Column("A"), Column("B")],
            [[row.id, row.text or "", row.reference, row.candidate] for row in speech.worst],
        )


def print_benchmark(found: BenchResult) -> None:
    """Latency by case, then loading and memory."""
    for case in found.cases:
        print_table(
            f"{case.seconds:g} s of audio ({found.features}), batch {case.batch}, "
            f"{case.threads} thread{'' if case.threads == 1 else 's'}",
            [
                Column("model"),
                Column("p50", number=True),
                Column("p95", number=True),
                Column("p99", number=True),
                Column("RTF", number=True),
                Column("speed-up", number=True),
                Column("95 % interval", number=True),
                Column("difference"),
                *([Column("energy", number=True)] if _has_energy(case) else []),
            ],
            [_timing_row(row) for row in case.timings],
        )
        for throughput in case.throughput:
            _print_throughput(throughput)
    print_table(
        "size, loading, memory",
        [
            Column("model"),
            Column("size", number=True),
            Column("load", number=True),
            Column("first run", number=True),
            Column("peak memory", number=True),
            Column("resident", number=True),
            Column("arena", number=True),
            *([Column(name, number=True) for name in _GPU_COLUMNS] if _has_gpu(found) else []),
        ],
        [_start_row(row, _has_gpu(found)) for row in found.models],
    )
    starts = [row.start for row in found.models if row.start is not None]
    for note in dict.fromkeys(start.gpu_note for start in starts if start.gpu_note is not None):
        print_line(f"{note[0].upper()}{note[1:]}")


def _print_throughput(found: Throughput) -> None:
    print_table(
        f"throughput, {found.streams} stream{'' if found.streams == 1 else 's'} at a time",
        [
            Column("model"),
            Column("utterances a second", number=True),
            Column("times real time", number=True),
            Column("speed-up", number=True),
            Column("95 % interval", number=True),
        ],
        [
            [
                row.model,
                f"{row.utterances_per_second:.2f}",
                f"{row.audio_per_second:.1f}",
                "" if row.speedup is None else times(row.speedup.median),
                "" if row.speedup is None else _interval(row.speedup),
            ]
            for row in found.rates
        ],
    )


def _timing_row(row: Timing) -> list[str]:
    ratio = row.speedup
    return [
        row.model,
        milliseconds(row.p50_ms),
        milliseconds(row.p95_ms),
        milliseconds(row.p99_ms),
        f"{row.rtf:.4f}",
        "" if ratio is None else times(ratio.median),
        "" if ratio is None else _interval(ratio),
        "" if ratio is None else "yes" if ratio.different else "none seen",
        *([] if row.joules is None else [f"{row.joules:.3g} J"]),
    ]


def _has_energy(case: BenchCase) -> bool:
    return all(row.joules is not None for row in case.timings)


def _interval(ratio: Ratio) -> str:
    return f"{times(ratio.low)} – {times(ratio.high)}"


def print_changes(changes: Sequence[Change]) -> None:
    """Speed-ups now and in a stored benchmark."""
    print_table(
        "against the stored benchmark",
        [
            Column("case"),
            Column("model"),
            Column("speed-up then", number=True),
            Column("95 % interval", number=True),
            Column("now", number=True),
            Column("95 % interval", number=True),
            Column("beyond the noise"),
        ],
        [
            [
                change.case,
                change.model,
                times(change.then.median),
                _interval(change.then),
                times(change.now.median),
                _interval(change.now),
                "yes" if change.different else "no",
            ]
            for change in changes
        ],
    )


def _has_gpu(found: BenchResult) -> bool:
    return any(row.start is not None and row.start.gpu is not None for row in found.models)


def _start_row(row: BenchModel, gpu: bool) -> list[str]:
    start = row.start
    if start is None:
        return [row.model, size(row.bytes), *(5 + gpu * len(_GPU_COLUMNS)) * ["–"]]
    memory: list[int | None] = [start.peak_bytes, start.resident_bytes, start.arena_bytes]
    if gpu:
        use = start.gpu
        memory += [None, None] if use is None else [use.peak_bytes, use.held_bytes]
    return [
        row.model,
        size(row.bytes),
        milliseconds(start.load_ms),
        milliseconds(start.first_run_ms),
        *("–" if held is None else size(held) for held in memory),
    ]
