"""What each fusion of target `cpu` is worth on one model, and what is left.

    taskset -c 0 python benchmarks/fusions.py ORIGINAL BASE --json fusions.json

ORIGINAL is the untouched float32 file; BASE comes of it: an interchange model, or what the lossless
stages leave. BASE is lowered with no fusion, with attention, and so on up to all of them; these and
ORIGINAL (every graph optimisation of ONNX Runtime) then run in turns within one process. Times are
medians over the rounds, ratios medians of the rounds' own ratios. With one thread the clock is the
process's own, which other work on the machine does not advance. The last table is ONNX Runtime's
profile of the fully fused model; of every node's times it takes the least, because that profile's
clock does count other work.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from confpress.passes.base import run
from confpress.passes.fuse.attention import FuseRelPosAttention
from confpress.passes.fuse.convolution import FuseConvModule
from confpress.passes.fuse.norms import FuseAddNorm
from confpress.passes.lower.cpu import LowerCpu
from confpress.runtime import kernels
from confpress.runtime.asr import AsrModel
from confpress.runtime.inputs import SpeechSource
from confpress.runtime.model_file import load_model, save_model, sha256
from confpress.runtime.runner import Runner
from confpress.runtime.session import SessionOptions, create_session, run_session
from rich.console import Console
from rich.table import Table

FUSIONS: tuple[tuple[str, ir.passes.PassBase], ...] = (
    ("attention", FuseRelPosAttention()),
    ("+ convolution", FuseConvModule()),
    ("+ residual sums and norms", FuseAddNorm()),
)
#: Runs of the profile.
PROFILED = 30
#: Idle threads of one session must not take the processor from the next one.
CONFIG = (("session.force_spinning_stop", "1"),)


@dataclass(frozen=True)
class Row:
    """One model: milliseconds, speed-up over the original and over the row above.

    `difference` is the largest of the outputs' elements against the unfused model's, as a share of
    the largest output.
    """

    name: str
    ms: float
    speed_up: float
    over_previous: float
    refusals: int
    difference: float


@dataclass(frozen=True)
class Operator:
    """All nodes of one operator in the fused model."""

    name: str
    nodes: int
    ms: float
    share: float


def lowered(base: Path, folder: Path) -> tuple[list[Path], list[int]]:
    """The base without fusions, then with one more each; and how many places were refused."""
    paths, refusals = [], []
    for count in range(len(FUSIONS) + 1):
        model = load_model(base)
        fusions = [each for _, each in FUSIONS[:count]]
        refusals.append(len(run([LowerCpu(), *fusions], model).refusals))
        paths.append(folder / f"fused{count}.onnx")
        save_model(model, paths[-1])
    return paths, refusals


def turns(
    calls: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> np.ndarray:
    """Milliseconds [calls, rounds], in an order that is new every round."""
    generator = np.random.default_rng(0)
    for call in calls:
        call()
        call()
    times = np.empty((len(calls), rounds))
    for index in range(rounds):
        for which in generator.permutation(len(calls)):
            start = clock()
            calls[which]()
            times[which, index] = (clock() - start) * 1e3
    return times


def left(path: Path, feeds: dict[str, np.ndarray], options: SessionOptions) -> list[Operator]:
    """Where the time of a model goes, by operator."""
    with tempfile.TemporaryDirectory() as folder:
        traced = SessionOptions(threads=options.threads, profile_prefix=Path(folder) / "trace")
        session = create_session(path, traced)
        for _ in range(PROFILED):
            run_session(session, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            node = event["name"] + event["args"]["node_index"]
            times[event["args"]["op_name"]][node].append(event["dur"] / 1e3)
    sums = {operator: sum(min(t) for t in nodes.values()) for operator, nodes in times.items()}
    whole = sum(sums.values())
    found = [Operator(o, len(times[o]), ms, ms / whole) for o, ms in sums.items()]
    return sorted(found, key=lambda each: -each.ms)


def measure(
    original: Path, base: Path, *, seconds: float, batch: int, threads: int, rounds: int
) -> tuple[list[Row], list[Operator]]:
    """Times the original and the base with more and more fusions in turns."""
    model = AsrModel.load(original)
    source = SpeechSource(model.frontend)
    utterances = source.batch(source.frames(seconds), batch)
    feeds = model.interface.feeds(utterances)
    options = SessionOptions(threads=threads, config=CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        paths, refusals = lowered(base, Path(folder))
        sessions = [create_session(path, options) for path in (original, *paths)]
        outputs = [np.concatenate(Runner(model.interface, s).scores(utterances)) for s in sessions]
        clock = time.process_time if threads == 1 else time.perf_counter
        calls = [lambda s=s: run_session(s, feeds) for s in sessions]  # type: ignore[misc]
        times = turns(calls, rounds, clock)
        operators = left(paths[-1], feeds, options)
    names = ["original", "no fusion", *(name for name, _ in FUSIONS)]
    rows = []
    for i, name in enumerate(names):
        reference = outputs[1].astype(np.float64)
        error = np.abs(outputs[i] - reference).max() / np.abs(reference).max()
        rows.append(
            Row(
                name=name,
                ms=float(np.median(times[i])),
                speed_up=float(np.median(times[0] / times[i])),
                over_previous=float(np.median(times[max(i - 1, 0)] / times[i])),
                refusals=refusals[i - 1] if i else 0,
                difference=float(error),
            )
        )
    return rows, operators


def _print(console: Console, rows: list[Row], operators: list[Operator]) -> None:
    table = Table(title="milliseconds of one run, medians; ratios round by round")
    for name in ("model", "ms", "x original", "x row above", "refused", "difference"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.ms:.1f}",
            f"{row.speed_up:.2f}",
            f"{row.over_previous:.2f}",
            str(row.refusals),
            f"{row.difference:.1e}",
        )
    console.print(table)
    table = Table(title="what is left in the last one")
    for name in ("operator", "nodes", "ms", "share"):
        table.add_column(name, justify="left" if name == "operator" else "right")
    for each in operators:
        if each.share >= 0.005:
            table.add_row(each.name, str(each.nodes), f"{each.ms:.2f}", f"{each.share:.1%}")
    console.print(table)


@click.command()
@click.argument("original", type=click.Path(path_type=Path, exists=True))
@click.argument("base", type=click.Path(path_type=Path, exists=True))
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--batch", default=1, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    original: Path,
    base: Path,
    seconds: float,
    batch: int,
    threads: int,
    rounds: int,
    json_path: Path | None,
) -> None:
    """Compare ORIGINAL with BASE lowered for target `cpu`, fusion by fusion."""
    console = Console()
    rows, operators = measure(
        original, base, seconds=seconds, batch=batch, threads=threads, rounds=rounds
    )
    _print(console, rows, operators)
    if json_path is not None:
        result = {
            "original": sha256(original),
            "base": sha256(base),
            "onnxruntime": ort.__version__,
            "kernels": kernels.describe().chosen,
            "seconds": seconds,
            "batch": batch,
            "threads": threads,
            "rounds": rounds,
            "rows": [asdict(row) for row in rows],
            "left": [asdict(each) for each in operators],
        }
        json_path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
