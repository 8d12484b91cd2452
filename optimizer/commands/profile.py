"""``confpress profile``: where a model's time goes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import (
    SECONDS,
    frontend_option,
    json_option,
    kernels_option,
    model_argument,
    one_thread_option,
    runs_option,
    speech_option,
    subset_option,
)

if TYPE_CHECKING:
    from ...runtime.profile.modules import ModuleProfile, ModuleTime
    from ..console import Column

#: Operators that a row names.
_NAMED_OPERATORS = 3


@click.command("profile", short_help="Show where a model's time goes, and what is left to gain.")
@model_argument
@click.option(
    "--seconds",
    type=SECONDS,
    default=10.0,
    show_default=True,
    metavar="S",
    help="Duration of the audio.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Utterances that run together.",
)
@one_thread_option
@runs_option
@click.option("--layers", is_flag=True, help="Show the time block by block too.")
@click.option("--modules", is_flag=True, help="Show the time of every module too.")
@speech_option
@subset_option
@kernels_option
@frontend_option
@json_option
def command(
    model: Path,
    seconds: float,
    batch: int,
    threads: int,
    runs: int,
    layers: bool,
    modules: bool,
    data: Path | None,
    subset: str | None,
    kernels: bool,
    frontend: Path | None,
    json_file: Path | None,
) -> None:
    """Runs MODEL under ONNX Runtime's profiler and tells the time by kind of module and operator.

    Nodes are told their modules after all fusions, whatever they are called then. "Of the limit" is
    the time that a module's products would take at the rate of a dense product measured on this
    machine just now, in the format they run in, over the time that the module takes: what is far
    from 100 % is not held by arithmetic, and can gain.

    \b
    Examples:
      confpress profile model.onnx
      confpress profile out/cpu/model.onnx --modules --seconds 30
    """  # noqa: D301 (\b tells click to keep lines)
    from ...runtime.profile.modules import profile_modules
    from ...runtime.progress import progress
    from ...runtime.recognition.asr import AsrModel
    from ...runtime.session import SessionOptions
    from ...runtime.speech.manifest import load_utterances
    from ..console import check_output_file, print_line, print_table, write_json

    if json_file is not None:
        check_output_file(json_file, inputs=[model, data, frontend])
    loaded = AsrModel.load(model, frontend)
    utterances = load_utterances(data, subset) if data else []
    with progress("Profiling", None):
        found = profile_modules(
            loaded,
            SessionOptions(threads=threads, kernels=kernels),
            seconds=seconds,
            batch=batch,
            runs=runs,
            utterances=utterances,
        )
    write_json(json_file, found)
    print_line(_title(found))
    print_table("what is left", _columns("kind of module"), _rows(found.by_kind()))
    print_table("", _operator_columns(), _operator_rows(found))
    if layers:
        print_table("by block", _columns("block"), _rows(found.by_layer()))
    if modules:
        print_table("by module", _columns("module"), _rows(found.modules))


def _title(found: ModuleProfile) -> str:
    from ..text import milliseconds, rate

    whole, peak = found.whole, found.peak
    told = f", {milliseconds(found.unattributed_ms)} in no module" if found.unattributed_ms else ""
    return (
        f"{whole.model}: {whole.seconds:g} s of audio, batch {whole.batch}, threads "
        f"{whole.threads}; a run takes {milliseconds(whole.run_ms)} under the profiler, "
        f"{milliseconds(whole.outside_ms)} of them between nodes{told}. Dense products here: "
        f"float32 {rate(peak.float32)}, int8 {rate(peak.int8)}."
    )


def _columns(first: str) -> list[Column]:
    from ..console import Column

    return [
        Column(first),
        Column("time", number=True),
        Column("share", number=True),
        Column("MACs", number=True),
        Column("rate", number=True),
        Column("of the limit", number=True),
        Column("in operators"),
    ]


def _rows(times: Iterable[ModuleTime]) -> list[list[str]]:
    from ..text import count, milliseconds, percent, rate

    return [
        [
            each.id.replace("_", " ") if each.id == each.kind else each.id,
            milliseconds(each.ms),
            percent(each.share, 1),
            count(each.macs) if each.macs else "",
            rate(each.rate) if each.macs and each.ms else "",
            "" if each.of_limit is None else percent(each.of_limit, 0),
            _operators(each),
        ]
        for each in times
    ]


def _operators(each: ModuleTime) -> str:
    from ..text import percent

    named = list(each.operators.items())[:_NAMED_OPERATORS]
    return ", ".join(f"{name} {percent(ms / each.ms, 0)}" for name, ms in named if ms > 0)


def _operator_columns() -> list[Column]:
    from ..console import Column

    return [
        Column("operator"),
        Column("nodes", number=True),
        Column("time", number=True),
        Column("share", number=True),
    ]


def _operator_rows(found: ModuleProfile) -> list[list[str]]:
    from ..text import milliseconds, percent

    return [
        [each.operator, str(each.nodes), milliseconds(each.ms), percent(each.share, 1)]
        for each in found.whole.operators
        if each.share >= 0.005
    ]
