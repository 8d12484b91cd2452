"""Where one model's time goes, by operator and by node, as ONNX Runtime's profiler sees it."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from pydantic import Field

from ...passes.errors import ConfpressError
from ..inputs import SpeechSource
from ..recognition.asr import AsrModel
from ..record import Record
from ..session import DEFAULT_OPTIONS, SessionOptions, create_session, run_session
from ..speech.manifest import Utterance

_KERNEL_SUFFIX = "_kernel_time"
_WARM_UP_RUNS = 3

Event = dict[str, Any]


class NodeTime(Record):
    """One node of the optimised graph."""

    name: str = Field(description="the node's name after ONNX Runtime's own optimisation")
    operator: str
    provider: str
    ms: float = Field(description="median over the runs, nodes of its subgraphs left out")
    share: float = Field(description="part of the time of all nodes")
    input_shape: tuple[int, ...] | None = Field(
        default=None, description="of its first input in the last run; none without inputs"
    )
    output_shape: tuple[int, ...] | None = Field(
        default=None, description="of its first output in the last run"
    )


class OperatorTime(Record):
    """All nodes of one operator."""

    operator: str
    nodes: int
    ms: float
    share: float = Field(description="part of the time of all nodes")


class Profile(Record):
    """Where the time of one run goes."""

    model: str
    seconds: float
    batch: int
    threads: int
    runs: int
    run_ms: float = Field(description="median of a whole run, while being profiled")
    outside_ms: float = Field(description="the part of it that no node accounts for")
    operators: tuple[OperatorTime, ...] = Field(description="slowest first")
    nodes: tuple[NodeTime, ...] = Field(description="slowest first")


def profile(
    model: AsrModel,
    options: SessionOptions = DEFAULT_OPTIONS,
    *,
    seconds: float = 10.0,
    batch: int = 1,
    runs: int = 10,
    utterances: Sequence[Utterance] = (),
) -> Profile:
    """Measure the time of every node.

    Args:
        model: The model.
        options: How it is run.
        seconds: Duration of the audio; a model of one window reads that.
        batch: Utterances that run together.
        runs: Runs that count, after three that do not.
        utterances: Speech to run on; noise without it.

    Raises:
        ConfpressError: the model cannot be run, or audio cannot be read.
    """
    source = SpeechSource(model.frontend, utterances)
    seconds = model.run_seconds(seconds)
    feeds = model.interface.feeds(source.batch(source.frames(seconds), batch))
    nodes, run_ms = profile_nodes(model.path, feeds, options, runs)
    return Profile(
        model=str(model.path),
        seconds=seconds,
        batch=batch,
        threads=options.threads,
        runs=runs,
        run_ms=run_ms,
        outside_ms=max(run_ms - sum(n.ms for n in nodes), 0.0),
        operators=_operator_times(nodes),
        nodes=nodes,
    )


def profile_nodes(
    model: Path | ir.Model,
    feeds: Mapping[str, npt.NDArray[Any]],
    options: SessionOptions = DEFAULT_OPTIONS,
    runs: int = 10,
) -> tuple[tuple[NodeTime, ...], float]:
    """Measures the time of every node on given inputs.

    Args:
        model: The model.
        feeds: An array per input name.
        options: How it is run.
        runs: Runs that count, after three that do not.

    Returns:
        The nodes, slowest first, and the median of a whole run in ms.

    Raises:
        ConfpressError: the model cannot be run.
    """
    if runs < 1:
        raise ConfpressError(f"a profile needs at least 1 run, not {runs}.")
    with tempfile.TemporaryDirectory(prefix="confpress-") as folder:
        traced = dataclasses.replace(options, profile_prefix=Path(folder) / "trace")
        session = create_session(model, traced)
        for _ in range(_WARM_UP_RUNS + runs):
            run_session(session, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    whole = [e for e in events if e.get("name") == "model_run"][-runs:]
    return _node_times(events, whole), float(np.median([e["dur"] for e in whole])) / 1e3


def _node_times(events: Sequence[Event], runs: Sequence[Event]) -> tuple[NodeTime, ...]:
    starts = sorted(e["ts"] for e in runs)
    kernels = [
        e
        for e in events
        if e.get("cat") == "Node" and e["name"].endswith(_KERNEL_SUFFIX) and e["ts"] >= starts[0]
    ]
    times: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0] * len(starts))
    shapes: dict[tuple[str, ...], dict[str, tuple[int, ...] | None]] = {}
    for event, own in _own_times(kernels):
        arguments = event["args"]
        name = event["name"].removesuffix(_KERNEL_SUFFIX)
        key = (name, arguments["op_name"], arguments["provider"], arguments["node_index"])
        # A node in a loop runs several times a run.
        times[key][bisect_right(starts, event["ts"]) - 1] += own / 1e3
        shapes[key] = {
            f"{side}_shape": _first_shape(arguments.get(f"{side}_type_shape"))
            for side in ("input", "output")
        }
    medians = {key: float(np.median(values)) for key, values in times.items()}
    total = sum(medians.values()) or 1.0
    found = [
        NodeTime(
            name=key[0], operator=key[1], provider=key[2], ms=ms, share=ms / total, **shapes[key]
        )
        for key, ms in medians.items()
    ]
    return tuple(sorted(found, key=lambda n: -n.ms))


def _first_shape(said: Sequence[Mapping[str, Sequence[int]]] | None) -> tuple[int, ...] | None:
    """``[{"float": [1, 75, 144]}, ...]``: the shape of the first tensor."""
    return next((tuple(shape) for each in said or () for shape in each.values()), None)


def _own_times(events: Sequence[Event]) -> list[tuple[Event, float]]:
    """Microseconds of each event without the events inside it (If and Loop contain nodes)."""
    ordered = sorted(events, key=lambda e: (e["ts"], -e["dur"]))
    own = [float(e["dur"]) for e in ordered]
    open_events: list[int] = []
    for index, event in enumerate(ordered):
        while open_events and _end(ordered[open_events[-1]]) <= event["ts"]:
            open_events.pop()
        if open_events and _end(event) <= _end(ordered[open_events[-1]]):
            own[open_events[-1]] -= event["dur"]
        open_events.append(index)
    return list(zip(ordered, own, strict=True))


def _end(event: Event) -> int:
    return int(event["ts"] + event["dur"])


def _operator_times(nodes: Sequence[NodeTime]) -> tuple[OperatorTime, ...]:
    groups: dict[str, list[NodeTime]] = defaultdict(list)
    for node in nodes:
        groups[node.operator].append(node)
    found = [
        OperatorTime(
            operator=operator,
            nodes=len(group),
            ms=sum(n.ms for n in group),
            share=sum(n.share for n in group),
        )
        for operator, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda o: -o.ms))
