"""``confpress audit``: which kernel each layer really runs on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    from ...runtime.audit.layers import Audit, LayerAudit
    from ...runtime.audit.saturation import Saturation
    from ...runtime.session import Provider
    from ..console import Column

#: Exit status where layers do not run as the file says.
EXIT_UNPLANNED = 3

_RUNS = {
    "integer": "integers",
    "low-bit": "low-bit weights",
    "float": "float32",
    "folded": "float32, decoded at load",
    "decoded": "float32, decoded on every call",
    "body": "the function's body",
    "gone": "not found",
}


@click.command("audit", short_help="Show which kernel each layer really runs on.")
@model_argument
@click.option("--layers", is_flag=True, help="Show every layer, not only groups of equal ones.")
@click.option(
    "--seconds",
    type=SECONDS,
    default=10.0,
    show_default=True,
    metavar="S",
    help="Duration of the audio that times are of.",
)
@runs_option
@one_thread_option
@speech_option
@click.option(
    "--saturation",
    is_flag=True,
    help="Count on --data which sums of DynamicQuantizeMatMul would saturate on processors "
    "without VNNI, by emulation.",
)
@click.option(
    "--provider",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="With `cuda`: which operators fall to the CPU, and how often the model copies between "
    "devices.",
)
@subset_option
@kernels_option
@frontend_option
@json_option
def command(
    model: Path,
    layers: bool,
    seconds: float,
    runs: int,
    threads: int,
    data: Path | None,
    saturation: bool,
    provider: Provider,
    subset: str | None,
    kernels: bool,
    frontend: Path | None,
    json_file: Path | None,
) -> int:
    """Loads MODEL as it will be loaded and tells, layer by layer, what ONNX Runtime made of it.

    A layer that the file states in integers may be computed in float32 all the same, of weights
    that are decoded when the model is loaded, or on every call. Each layer's time stands beside
    that of the same product in float32, measured right after.

    \b
    Examples:
      confpress audit out/portable/model.onnx
      confpress audit quantised.onnx --layers --json audit.json
      confpress audit out/portable/model.onnx --saturation --data calls/

    \b
    Exit status:
      0  every layer runs as the file says
      3  some do not; they are named (with --provider cuda: the model copies between devices)
    """  # noqa: D301 (\b tells click to keep lines)
    from ...passes.errors import ConfpressError
    from ...runtime.audit.cost import audit_timed
    from ...runtime.audit.placement import placement
    from ...runtime.audit.saturation import saturations
    from ...runtime.calibration.calibrate import CalibrationSet
    from ...runtime.model_file import load_model
    from ...runtime.profile.operators import profile
    from ...runtime.progress import progress
    from ...runtime.recognition.asr import AsrModel
    from ...runtime.session import SessionOptions
    from ...runtime.speech.manifest import load_utterances
    from ..console import check_output_file, print_line, print_table, write_json

    if saturation and data is None:
        raise ConfpressError("--saturation counts on speech: give --data.")
    if json_file is not None:
        check_output_file(json_file, inputs=[model, data, frontend])
    loaded = AsrModel.load(model, frontend)
    utterances = load_utterances(data, subset) if data else []
    if provider != "cpu":
        options = SessionOptions(provider=provider, threads=threads, kernels=kernels)
        with progress("Auditing", None):
            traced = profile(loaded, options, seconds=seconds, runs=runs, utterances=utterances)
        placed = placement(traced.nodes, provider)
        write_json(json_file, placed)
        print_line(placed.sentence)
        return EXIT_UNPLANNED if placed.copies else 0
    with progress("Auditing", None):
        found = audit_timed(
            loaded,
            SessionOptions(threads=threads, kernels=kernels),
            seconds=seconds,
            runs=runs,
            utterances=utterances,
        )
    if saturation:
        speech = CalibrationSet(loaded.frontend, tuple(utterances))
        counted = saturations(load_model(loaded.path), speech)
        found = found.model_copy(update={"saturation": counted})
    write_json(json_file, found)
    print_table(_title(found), _columns("layers"), _rows(_groups(found.layers)))
    if layers:
        print_table(
            "by layer", _columns("layer"), _rows((each.id, [each]) for each in found.layers)
        )
    for line in _sentences(found):
        print_line(line)
    if saturation:
        print_line(_saturated(found.saturation))
    return EXIT_UNPLANNED if found.unplanned else 0


def _saturated(counted: Sequence[Saturation]) -> str:
    """How much would saturate, and where most."""
    from ..text import percent

    sums, beyond = sum(each.sums for each in counted), sum(each.saturated for each in counted)
    start = f"Without VNNI {beyond} of {sums} sums of two products would saturate"
    if not beyond:
        return f"{start}."
    worst = max(counted, key=lambda each: each.saturated / max(each.sums, 1))
    hit = sum(each.saturated > 0 for each in counted)
    return (
        f"{start} ({percent(beyond / sums, 4)}), in {hit} of {len(counted)} layers; most in "
        f"{worst.id} ({percent(worst.saturated / worst.sums, 4)})."
    )


def _title(found: Audit) -> str:
    planned = len(found.layers) - len(found.unplanned)
    return (
        f"{found.model}: {planned} of {len(found.layers)} layers run as the file says; times of "
        f"{found.seconds:g} s of audio, batch {found.batch}, threads {found.threads}"
    )


def _groups(layers: Iterable[LayerAudit]) -> Iterable[tuple[str, list[LayerAudit]]]:
    """Layers of which all but the times is the same, with their number."""
    groups: dict[tuple[str | None, ...], list[LayerAudit]] = {}
    for each in layers:
        groups.setdefault(_cells(each), []).append(each)
    return [(str(len(group)), group) for group in groups.values()]


def _cells(each: LayerAudit) -> tuple[str, ...]:
    said = each.stored if each.stated == "float32" else f"{each.stored} {each.stated}"
    mark = "yes" if each.as_planned else "NO"
    return each.operator, said, each.kernel or "", _RUNS[each.runs], mark


def _columns(first: str) -> list[Column]:
    from ..console import Column

    return [
        Column(first),
        Column("in the file"),
        Column("stated"),
        Column("kernel"),
        Column("computes"),
        Column("as stated"),
        Column("time", number=True),
        Column("float32", number=True),
        Column("faster", number=True),
    ]


def _rows(groups: Iterable[tuple[str, Sequence[LayerAudit]]]) -> list[list[str]]:
    return [[name, *_cells(group[0]), *_times(group)] for name, group in groups]


def _times(group: Sequence[LayerAudit]) -> list[str]:
    from ..text import milliseconds

    ms = [each.ms for each in group if each.ms is not None]
    both = [(e.ms, e.float_ms) for e in group if e.ms is not None and e.float_ms is not None]
    if not ms:
        return ["", "", ""]
    if len(both) < len(group):
        return [milliseconds(sum(ms)), "", ""]
    as_float = sum(b for _, b in both)
    return [milliseconds(sum(ms)), milliseconds(as_float), f"{as_float / sum(ms):.2f}×"]


def _sentences(found: Audit) -> list[str]:
    """What is to be known, each said once with the layers that it is of."""
    from ..records import grouped

    said = [(finding, each.id) for each in found.layers for finding in each.findings]
    return [f"{where}: {text}." for text, where in grouped(said)]
