"""Weights of 4 and 2 bits against ONNX Runtime's MatMulNBits, layer by layer.

    taskset -c 0 python benchmarks/lowbit.py --json lowbit.json

Sides, timed in turn on the same input: int4, FP4 and int2 (QuantLinear4Bit, QuantLinear2Bit), int8
(QuantLinear) and MatMulNBits with 4 bits at accuracy level 4, which computes in int8 too. All have
scales of float32, per block of inputs (int8: per output channel), a bias and one thread. A model
holds several layers with weights of their own; the table shows medians over the rounds, and a
speed-up is the median of the rounds' own ratios. The same command verifies every side against
float64: ours on the same quantised input, MatMulNBits on the exact one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import geometric_mean, median

import click
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
from confpress.passes.operators import quantlinear_lowbit as lowbit
from confpress.passes.operators.functions import define_operator
from confpress.runtime import kernels
from linear import (
    FRAMES,
    TOLERANCE,
    Floats,
    Layer,
    Runner,
    cases,
    clock,
    graph_input,
    initializer,
    largest_error,
    model_of,
    our_model,
    processor,
    quantised,
)
from rich.console import Console
from rich.progress import track
from rich.table import Table

FORMATS = (lowbit.INT4, lowbit.FP4, lowbit.INT2)
RIVAL = "MatMulNBits"


@dataclass(frozen=True)
class LowBitLayer:
    """Codes uint8 [N, K], scales float32 [N, ceil(K / block)], bias float32 [N]."""

    form: lowbit.LowBitFormat
    block: int
    codes: npt.NDArray[np.uint8]
    scales: Floats
    bias: Floats

    @classmethod
    def random(
        cls, generator: np.random.Generator, form: lowbit.LowBitFormat, block: int, n: int, k: int
    ) -> LowBitLayer:
        """A layer whose codes are all equally likely."""
        codes = generator.integers(0, len(form.values), (n, k)).astype(np.uint8)
        scales = generator.uniform(0.5, 1.5, (n, -(-k // block))) / np.sqrt(k) / 8
        bias = generator.standard_normal(n, np.float32)
        return cls(form, block, codes, scales.astype(np.float32), bias)

    @property
    def weight(self) -> npt.NDArray[np.float64]:
        """[N, K] in float64."""
        values = np.array(self.form.values, np.float64)[self.codes]
        return values * np.repeat(self.scales, self.block, axis=1)[:, : self.codes.shape[1]]


@dataclass
class Timing:
    """One shape: microseconds, speed-up over MatMulNBits and error of each side."""

    k: int
    n: int
    frames: int
    block: int
    us: dict[str, float] = field(default_factory=dict)
    speed_up: dict[str, float] = field(default_factory=dict)
    gops: dict[str, float] = field(default_factory=dict)
    error: dict[str, float] = field(default_factory=dict)
    fp4_over_int4: float = 0.0


def lowbit_model(layers: list[LowBitLayer]) -> ir.Model:
    """The layers as QuantLinear4Bit or QuantLinear2Bit."""
    n, k = layers[0].codes.shape
    form, block = layers[0].form, layers[0].block
    x, nodes, weights = graph_input(k), [], []
    for i, layer in enumerate(layers):
        values = [
            initializer(f"w{i}", lowbit.pack_codes(layer.codes, form.bits)),
            initializer(f"scales{i}", lowbit.pack_scales(layer.scales)),
            initializer(f"bias{i}", layer.bias),
        ]
        weights += values
        nodes.append(lowbit.lowbit_node(x, *values, shape=(n, k), block=block, form=form))
    model = model_of(x, nodes, [node.outputs[0] for node in nodes], weights)
    define_operator(model, lowbit.lowbit_function, form.bits)
    return model


def rival_model(layers: list[LowBitLayer]) -> ir.Model:
    """Layers of int4 as MatMulNBits: codes are values plus 8, two in a byte, the first lowest."""
    n, k = layers[0].codes.shape
    block = layers[0].block
    blocks = -(-k // block)
    x, nodes, weights = graph_input(k), [], []
    for i, layer in enumerate(layers):
        codes = np.full((n, blocks * block), 8, np.uint8)
        codes[:, :k] = layer.codes ^ 8
        pairs = codes.reshape(n, blocks, block // 2, 2)
        values = [
            initializer(f"w{i}", pairs[..., 0] | pairs[..., 1] << 4),
            initializer(f"scales{i}", layer.scales),
            initializer(f"bias{i}", layer.bias),
        ]
        weights += values
        w, scales, bias = values
        attributes = {"K": k, "N": n, "bits": 4, "block_size": block, "accuracy_level": 4}
        inputs = [x, w, scales, None, None, bias]
        nodes.append(ir.node("MatMulNBits", inputs, attributes, domain="com.microsoft"))
    return model_of(x, nodes, [node.outputs[0] for node in nodes], weights)


def measure(
    k: int, n: int, frames: int, *, block: int, layers: int, rounds: int, threads: int
) -> Timing:
    """Times one shape on all sides in turn and verifies them."""
    generator = np.random.default_rng(k * n + frames)
    x = generator.standard_normal((frames, k), np.float32)
    stacks = {
        form.name: [LowBitLayer.random(generator, form, block, n, k) for _ in range(layers)]
        for form in FORMATS
    }
    models = {name: lowbit_model(stack) for name, stack in stacks.items()}
    models["int8"] = our_model([Layer.random(generator, n, k) for _ in range(layers)], "")
    models[RIVAL] = rival_model(stacks["int4"])
    runners = {name: Runner(model, x, n, layers, threads) for name, model in models.items()}
    once = max(runner.seconds(2) for runner in runners.values())
    runs = max(2, int(0.004 / once))
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            seconds[name].append(runner.seconds(runs) / layers)
    timing = Timing(k, n, frames, block)
    for name, taken in seconds.items():
        timing.us[name] = median(taken) * 1e6
        timing.speed_up[name] = _ratio(seconds[RIVAL], taken)
        timing.gops[name] = 2 * k * n * frames / median(taken) / 1e9
    timing.fp4_over_int4 = _ratio(seconds["fp4"], seconds["int4"])
    for name, stack in stacks.items():
        expected = quantised(x) @ stack[0].weight.T + stack[0].bias
        timing.error[name] = largest_error(runners[name].output(), expected)
    exact = x.astype(np.float64) @ stacks["int4"][0].weight.T + stacks["int4"][0].bias
    timing.error[RIVAL] = largest_error(runners[RIVAL].output(), exact)
    return timing


def _ratio(times: list[float], others: list[float]) -> float:
    return median(a / b for a, b in zip(times, others, strict=True))


def _table(timings: list[Timing]) -> Table:
    names = list(timings[0].us)
    table = Table(title=f"one linear layer, microseconds (and times as fast as {RIVAL})")
    for name in ("K", "N", "frames", *names):
        table.add_column(name, justify="right")
    for t in timings:
        cells = [f"{t.us[name]:.0f} ({t.speed_up[name]:.2f})" for name in names]
        table.add_row(str(t.k), str(t.n), str(t.frames), *cells)
    return table


def _summary(timings: list[Timing]) -> dict[str, float]:
    def over_all(pick: Callable[[Timing], float]) -> float:
        return geometric_mean(map(pick, timings))

    ours = [name for name in timings[0].us if name != RIVAL]
    summary = {f"{name}_geometric_mean": over_all(lambda t, n=name: t.speed_up[n]) for name in ours}
    summary |= {f"{name}_least": min(t.speed_up[name] for t in timings) for name in ours}
    summary["fp4_time_over_int4"] = over_all(lambda t: t.fp4_over_int4)
    summary["largest_error"] = max(t.error[form.name] for t in timings for form in FORMATS)
    return summary


@click.command()
@click.option("--shapes", help="K x N pairs such as 176x704,704x176; the Conformers' by default.")
@click.option("--frames", default=",".join(map(str, FRAMES)), show_default=True)
@click.option("--block", default=32, show_default=True, help="Inputs that share a scale.")
@click.option("--layers", default=4, show_default=True, help="Layers in a model.")
@click.option("--rounds", default=15, show_default=True, help="Turns of each side.")
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Where to write figures."
)
def main(
    shapes: str | None,
    frames: str,
    block: int,
    layers: int,
    rounds: int,
    threads: int,
    json_path: Path | None,
) -> None:
    """Compare linear layers of 4 and 2 bits with MatMulNBits."""
    console = Console()
    timings = [
        measure(k, n, count, block=block, layers=layers, rounds=rounds, threads=threads)
        for k, n, count in track(list(cases(shapes, frames)), console=console, transient=True)
    ]
    summary = _summary(timings)
    console.print(_table(timings))
    for name, value in summary.items():
        console.print(f"{name.replace('_', ' ')}: {value:.3g}")
    if json_path is not None:
        result = {
            "processor": processor(),
            "onnxruntime": ort.__version__,
            "onnx": onnx.__version__,
            "kernels": kernels.describe().chosen,
            "compiler": kernels.describe().compiler,
            "threads": threads,
            "clock": clock(threads).__name__,
            "layers": layers,
            "rounds": rounds,
            "summary": summary,
            "timings": [asdict(t) for t in timings],
        }
        json_path.write_text(json.dumps(result, indent=2) + "\n")
    if summary["largest_error"] > TOLERANCE:
        raise click.ClickException(
            f"a kernel differs from float64 by {summary['largest_error']:.1e} of the largest "
            f"output; {TOLERANCE:.0e} is allowed."
        )


if __name__ == "__main__":
    main()
