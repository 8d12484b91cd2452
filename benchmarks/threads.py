"""What more threads gain: each operator of linear layers with one thread and with several, in turn.

    python benchmarks/threads.py --threads 2 --json threads.json  # 40 s

Sides: MatMul in float32, DynamicQuantizeMatMul, QuantLinear, QuantLinear4Bit (int4) and
SparseLinear at 75 and 87.5 %. The gain is the median of the rounds' own ratios; the same command
checks that the number of threads changes no bit of our operators. It needs as many idle cores as
threads: the line `spinning` tells what they have left for work without memory, such as the machine
gives at that moment.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import geometric_mean, median

import click
import numpy as np
import onnx_ir as ir
from confpress.passes.operators.quantlinear_lowbit import INT4
from confpress.runtime import kernels
from linear import Floats, Layer, Runner, cases, onnxruntime_model, our_model, processor
from lowbit import LowBitLayer, lowbit_model
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sparse import PATTERNS, balanced, float_model, sparse_model

SHAPES = "256x1024,512x512,512x2048,2048x512"
FRAMES = "128,400"
OURS = ("QuantLinear", "QuantLinear4Bit", "SparseLinear 75%", "SparseLinear 87.5%")
_SPUN = b"x" * (1 << 21)


@dataclass
class Gain:
    """One shape: how many times faster each side is with more threads."""

    k: int
    n: int
    frames: int
    gain: dict[str, float] = field(default_factory=dict)


def _models(k: int, n: int, layers: int) -> dict[str, ir.Model]:
    generator = np.random.default_rng(k * n)
    dense = [Layer.random(generator, n, k) for _ in range(layers)]
    low = [LowBitLayer.random(generator, INT4, 32, n, k) for _ in range(layers)]
    models = {
        "float32": float_model(dense),
        "dynamic int8": onnxruntime_model(dense, ""),
        "QuantLinear": our_model(dense, ""),
        "QuantLinear4Bit": lowbit_model(low),
    }
    for name in ("75%", "87.5%"):
        sparse = [balanced(layer, PATTERNS[name]) for layer in dense]
        models[f"SparseLinear {name}"] = sparse_model(sparse, PATTERNS[name])
    return models


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _spin(count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda _: hashlib.sha256(_SPUN).digest(), range(count)))


def measure(k: int, n: int, frames: int, *, layers: int, rounds: int, threads: int) -> Gain:
    """Times one shape with one thread and with several, side by side."""
    x: Floats = np.random.default_rng(frames).standard_normal((frames, k), np.float32)
    gain = Gain(k, n, frames)
    for name, model in _models(k, n, layers).items():
        one, more = (Runner(model, x, n, layers, count, wall=True) for count in (1, threads))
        runs = max(2, int(0.01 / one.seconds(2)))
        more.seconds(runs)
        pairs = [(one.seconds(runs), more.seconds(runs)) for _ in range(rounds)]
        gain.gain[name] = median(a / b for a, b in pairs)
        if name in OURS and not np.array_equal(one.output(), more.output()):
            raise click.ClickException(f"{threads} threads change what {name} computes.")
    spun = [(_seconds(lambda: _spin(1)), _seconds(lambda: _spin(threads))) for _ in range(rounds)]
    gain.gain["spinning"] = median(threads * a / b for a, b in spun)
    return gain


@click.command()
@click.option("--shapes", default=SHAPES, show_default=True, help="K x N pairs.")
@click.option("--frames", default=FRAMES, show_default=True)
@click.option("--layers", default=4, show_default=True, help="Layers in a model.")
@click.option("--rounds", default=7, show_default=True, help="Turns of each side.")
@click.option("--threads", default=2, show_default=True)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Where to write figures."
)
def main(
    shapes: str, frames: str, layers: int, rounds: int, threads: int, json_path: Path | None
) -> None:
    """Measure what more threads gain."""
    console = Console(width=140)
    gains = [
        measure(k, n, count, layers=layers, rounds=rounds, threads=threads)
        for k, n, count in track(list(cases(shapes, frames)), console=console, transient=True)
    ]
    names = list(gains[0].gain)
    table = Table(title=f"{threads} threads: times as fast as one", box=box.MARKDOWN)
    for name in ("K", "N", "frames", *names):
        table.add_column(name, justify="right")
    for g in gains:
        table.add_row(*map(str, (g.k, g.n, g.frames)), *(f"{g.gain[n]:.2f}" for n in names))
    means = {name: geometric_mean(g.gain[name] for g in gains) for name in names}
    table.add_row("", "", "mean", *(f"{means[name]:.2f}" for name in names))
    console.print(table)
    if json_path is not None:
        result = {
            "processor": processor(),
            "kernels": kernels.describe().chosen,
            "threads": threads,
            "rounds": rounds,
            "mean": means,
            "gains": [asdict(g) for g in gains],
        }
        json_path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
