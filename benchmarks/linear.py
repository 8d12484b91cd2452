"""QuantLinear against ONNX Runtime's DynamicQuantizeMatMul, layer by layer.

    taskset -c 0 python benchmarks/linear.py --json linear.json

Both sides are sessions of ONNX Runtime with a dynamic number of frames, signed int8 weights with a
scale per output channel, and a bias; layers that widen (K < N, as in a feed-forward module) end
with SiLU. A model holds several layers with weights of their own on one input, so that what a call
costs besides its layers (Python, inputs and outputs) is shared by them. The two run in turn; the
table shows medians over the rounds, and the ratio's median is taken over the rounds' own ratios.
With one thread the clock is the process's own, which other work on the machine does not advance.
The same command verifies each QuantLinear against float64 on the same quantised input.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import geometric_mean, median

import click
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
from confpress.passes.operators import quantlinear
from confpress.passes.operators.functions import define_operator
from confpress.runtime import kernels
from rich.console import Console
from rich.progress import track
from rich.table import Table

# (K, N): the layers of Conformers of width 176, 256 and 512, and a vocabulary's projection.
SHAPES = (
    (176, 704),
    (704, 176),
    (176, 528),
    (176, 176),
    (176, 1025),
    (256, 1024),
    (512, 512),
    (512, 2048),
    (2048, 512),
)
FRAMES = (16, 64, 128, 250, 400)
OPSET = 17
SMALL_K = 512
#: Error of the kernel against float64 on the same codes, as a share of the largest output.
TOLERANCE = 1e-6

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """One quantised linear layer.

    Attributes:
        codes: int8 [N, K].
        scales: float32 [N].
        bias: float32 [N].
    """

    codes: npt.NDArray[np.int8]
    scales: Floats
    bias: Floats

    @classmethod
    def random(
        cls, generator: np.random.Generator, n: int, k: int, largest: float = quantlinear.QMAX
    ) -> Layer:
        """A layer with Gaussian weights, whose largest code is given."""
        weight = generator.standard_normal((n, k)) / np.sqrt(k)
        scales = np.abs(weight).max(axis=1) / largest
        codes = np.rint(weight / scales[:, None]).astype(np.int8)
        return cls(codes, scales.astype(np.float32), generator.standard_normal(n, np.float32))


@dataclass(frozen=True)
class Timing:
    """One shape: seconds of one layer and ONNX Runtime's time over ours."""

    k: int
    n: int
    frames: int
    silu: bool
    ours_us: float
    onnxruntime_us: float
    speed_up: float
    gops: float
    error: float
    error_of_exact: float
    onnxruntime_error_of_exact: float


def initializer(name: str, array: npt.NDArray[np.generic]) -> ir.Value:
    """A constant of a model."""
    tensor = ir.tensor(array, name=name)
    return ir.Value(
        name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype)
    )


def model_of(
    x: ir.Value, nodes: list[ir.Node], ys: list[ir.Value], weights: list[ir.Value]
) -> ir.Model:
    """A model with one input and the outputs y0, y1, ..."""
    for i, y in enumerate(ys):
        y.name, y.type = f"y{i}", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x],
        ys,
        nodes=nodes,
        initializers=weights,
        opset_imports={"": OPSET, "com.microsoft": 1},
        name="layers",
    )
    return ir.Model(graph, ir_version=8)


def graph_input(k: int) -> ir.Value:
    """x, [frames, K] with a free number of frames."""
    return ir.Value(name="x", shape=ir.Shape(["frames", k]), type=ir.TensorType(ir.DataType.FLOAT))


def clock(threads: int) -> Callable[[], float]:
    """The clock, in seconds, for sessions of so many threads."""
    return time.process_time if threads == 1 else time.perf_counter


def our_model(layers: list[Layer], activation: str) -> ir.Model:
    """The layers as QuantLinear."""
    n, k = layers[0].codes.shape
    x, nodes, weights = graph_input(k), [], []
    for i, layer in enumerate(layers):
        values = [
            initializer(f"w{i}", quantlinear.pack_int8(layer.codes)),
            initializer(f"scales{i}", layer.scales),
            initializer(f"bias{i}", layer.bias),
        ]
        weights += values
        nodes.append(quantlinear.quant_linear_node(x, *values, shape=(n, k), activation=activation))
    model = model_of(x, nodes, [node.outputs[0] for node in nodes], weights)
    define_operator(model, quantlinear.quant_linear_function, activation)
    return model


def onnxruntime_model(layers: list[Layer], activation: str) -> ir.Model:
    """The layers as DynamicQuantizeMatMul, then x · sigmoid(x) where there is SiLU.

    Without zero points, which is ONNX Runtime's fastest form.
    """
    x, nodes, weights, ys = graph_input(layers[0].codes.shape[1]), [], [], []
    for i, layer in enumerate(layers):
        b = initializer(f"w{i}", np.ascontiguousarray(layer.codes.T))
        scales = initializer(f"scales{i}", layer.scales)
        bias = initializer(f"bias{i}", layer.bias)
        weights += [b, scales, bias]
        linear = ir.node(
            "DynamicQuantizeMatMul", [x, b, scales, None, bias], domain="com.microsoft"
        )
        nodes.append(linear)
        y = linear.outputs[0]
        if activation:
            gate = ir.node("Sigmoid", [y])
            product = ir.node("Mul", [y, gate.outputs[0]])
            nodes += [gate, product]
            y = product.outputs[0]
        ys.append(y)
    return model_of(x, nodes, ys, weights)


class Runner:
    """A session whose outputs go to memory that is allocated once."""

    def __init__(
        self, model: ir.Model, x: Floats, n: int, outputs: int, threads: int, *, wall: bool = False
    ) -> None:
        self._clock = time.perf_counter if wall else clock(threads)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # The threads of one session would otherwise spin on while the other is timed.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.register_custom_ops_library(str(kernels.library_path()))
        self._session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
        self._ys = [
            ort.OrtValue.ortvalue_from_numpy(np.zeros((x.shape[0], n), np.float32))
            for _ in range(outputs)
        ]
        for i, y in enumerate(self._ys):
            self._binding.bind_ortvalue_output(f"y{i}", y)

    def seconds(self, runs: int) -> float:
        """Seconds of one run, the mean of `runs`."""
        start = self._clock()
        for _ in range(runs):
            self._session.run_with_iobinding(self._binding)
        return (self._clock() - start) / runs

    def output(self) -> Floats:
        """What the first layer computed."""
        return self._ys[0].numpy()


def quantised(x: Floats) -> npt.NDArray[np.float64]:
    """The frames as their codes say, in float64."""
    bounded = np.maximum(np.abs(x).max(axis=1, keepdims=True), np.float32(quantlinear.EPSILON))
    s = bounded / np.float32(quantlinear.QMAX)
    return np.asarray(np.rint(x / s).astype(np.float64) * s)


def in_float64(
    layer: Layer, x: Floats, activation: str, *, quantise: bool
) -> npt.NDArray[np.float64]:
    """The layer in float64, on the quantised input or on the exact one."""
    values = quantised(x) if quantise else x.astype(np.float64)
    z = values @ (layer.codes * layer.scales[:, None].astype(np.float64)).T + layer.bias
    return z / (1 + np.exp(-z)) if activation else z


def largest_error(y: Floats, reference: npt.NDArray[np.float64]) -> float:
    """The largest difference as a share of the largest output."""
    return float(np.abs(y - reference).max() / np.abs(reference).max())


def measure(k: int, n: int, frames: int, *, layers: int, rounds: int, threads: int) -> Timing:
    """Times one shape on both sides in turn and verifies ours."""
    generator = np.random.default_rng(k * n + frames)
    activation = "silu" if k < n <= 4 * k else ""
    stack = [Layer.random(generator, n, k) for _ in range(layers)]
    x = generator.standard_normal((frames, k), np.float32)
    ours = Runner(our_model(stack, activation), x, n, layers, threads)
    theirs = Runner(onnxruntime_model(stack, activation), x, n, layers, threads)
    once = max(runner.seconds(3) for runner in (ours, theirs))
    runs = max(3, int(0.004 / once))
    pairs = [(ours.seconds(runs), theirs.seconds(runs)) for _ in range(rounds)]
    exact = in_float64(stack[0], x, activation, quantise=False)
    our_time = median(a for a, _ in pairs) / layers
    return Timing(
        k=k,
        n=n,
        frames=frames,
        silu=bool(activation),
        ours_us=our_time * 1e6,
        onnxruntime_us=median(b for _, b in pairs) / layers * 1e6,
        speed_up=median(b / a for a, b in pairs),
        gops=2 * k * n * frames / our_time / 1e9,
        error=largest_error(ours.output(), in_float64(stack[0], x, activation, quantise=True)),
        error_of_exact=largest_error(ours.output(), exact),
        onnxruntime_error_of_exact=largest_error(theirs.output(), exact),
    )


def _table(timings: list[Timing]) -> Table:
    table = Table(title="one linear layer, microseconds")
    for name in (
        "K",
        "N",
        "frames",
        "SiLU",
        "QuantLinear",
        "ONNX Runtime",
        "speed-up",
        "GOP/s",
        "error",
    ):
        table.add_column(name, justify="right")
    for t in timings:
        table.add_row(
            str(t.k),
            str(t.n),
            str(t.frames),
            "yes" if t.silu else "",
            f"{t.ours_us:.1f}",
            f"{t.onnxruntime_us:.1f}",
            f"{t.speed_up:.2f}",
            f"{t.gops:.0f}",
            f"{t.error:.1e}",
        )
    return table


def _summary(timings: list[Timing]) -> dict[str, float]:
    small = [t.speed_up for t in timings if t.k <= SMALL_K]
    return {
        "least": min(t.speed_up for t in timings),
        "geometric_mean": geometric_mean(t.speed_up for t in timings),
        f"geometric_mean_k_up_to_{SMALL_K}": geometric_mean(small) if small else float("nan"),
        "largest_error": max(t.error for t in timings),
    }


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _pairs(text: str | None) -> tuple[tuple[int, int], ...]:
    if text is None:
        return SHAPES
    return tuple((int(k), int(n)) for k, _, n in (p.partition("x") for p in text.split(",")))


def cases(shapes: str | None, frames: str) -> Iterator[tuple[int, int, int]]:
    """K, N and frames of everything that the options ask for."""
    counts = [int(count) for count in frames.split(",")]
    return ((k, n, count) for k, n in _pairs(shapes) for count in counts)


@click.command()
@click.option("--shapes", help="K x N pairs such as 176x704,704x176; the Conformers' by default.")
@click.option("--frames", default=",".join(map(str, FRAMES)), show_default=True)
@click.option("--layers", default=4, show_default=True, help="Layers in a model.")
@click.option("--rounds", default=15, show_default=True, help="Turns of each side.")
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Where to write figures."
)
def main(
    shapes: str | None, frames: str, layers: int, rounds: int, threads: int, json_path: Path | None
) -> None:
    """Compare QuantLinear with DynamicQuantizeMatMul."""
    console = Console()
    timings = [
        measure(k, n, count, layers=layers, rounds=rounds, threads=threads)
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
            f"QuantLinear differs from float64 by {summary['largest_error']:.1e} of the largest "
            f"output; {TOLERANCE:.0e} is allowed."
        )


if __name__ == "__main__":
    main()
