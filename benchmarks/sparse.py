"""Balanced-sparse layers against ONNX Runtime's float32 and dynamic int8, layer by layer.

    taskset -c 0 python benchmarks/sparse.py --json sparse.json

Sides, timed in turn on the same input: SparseLinear at 50, 75 and 87.5 % (8, 4 and 2 of every 16
columns), the same 75 % over blocks of 64, 75 % with different counts in windows of 16
(SparseLinearUneven), SparseLinearFloat at 75 and 87.5 % over blocks of 64 with weights in float32
and in bfloat16, dense QuantLinear, DynamicQuantizeMatMul and MatMul in float32. All have a bias,
and one thread. A model holds several layers with weights of their own; the table shows medians over
the rounds, and a speed-up is the median of the rounds' own ratios; sizes are shares of float32's.
The same command verifies every sparse side against float64 on the input and
with the weights that it multiplies, quantised or not, says what rounding to bfloat16 costs, and
measures what registers alone can multiply (peaks.c): the last two columns of the summary are a
side's useful operations as a share of that, and its speed in units of an ideal dense product in
float32. With `CONFPRESS_KERNELS=avx2` these are AVX2's, and `--seven-bits`
shows what `--instructions avx2` gains there. Tables are Markdown; 16 shapes take about 5
minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import click
import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
from confpress.passes.operators import (
    quantlinear,
    sparselinear,
    sparselinear_float,
    sparselinear_uneven,
)
from confpress.passes.operators.functions import define_operator
from confpress.passes.seven_bits import LARGEST
from confpress.passes.sparsify import kept_unevenly
from confpress.runtime import kernels
from linear import (
    TOLERANCE,
    Floats,
    Layer,
    Runner,
    cases,
    clock,
    graph_input,
    in_float64,
    initializer,
    largest_error,
    model_of,
    onnxruntime_model,
    our_model,
    processor,
)
from peaks import peaks
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

SHAPES = "256x1024,512x512,512x2048,2048x512"
FRAMES = "16,64,128,400"
PATTERNS = {
    "50%": sparselinear.Pattern(32, 16),
    "75%": sparselinear.Pattern(16, 16),
    "87.5%": sparselinear.Pattern(8, 16),
    "75% of 64": sparselinear.Pattern(16, 64),
}
FLOAT_FORMS = {
    f"{name} {share}": (sparselinear.Pattern(kept, 64), dtype)
    for name, dtype in (("float", np.dtype(np.float32)), ("bfloat16", np.dtype(ml_dtypes.bfloat16)))
    for share, kept in (("75%", 16), ("87.5%", 8))
}
UNEVEN = "75% uneven"
ALL_PATTERNS = (
    PATTERNS
    | {UNEVEN: PATTERNS["75%"]}
    | {name: pattern for name, (pattern, _) in FLOAT_FORMS.items()}
)
RIVALS = ("float32", "dynamic int8")


@dataclass
class Timing:
    """One shape: microseconds and rate of each side, and the speed-up of each over each rival."""

    k: int
    n: int
    frames: int
    us: dict[str, float] = field(default_factory=dict)
    speed_up: dict[str, dict[str, float]] = field(default_factory=dict)
    useful_gops: dict[str, float] = field(default_factory=dict)
    error: dict[str, float] = field(default_factory=dict)
    size: dict[str, float] = field(default_factory=dict)
    rounding: float = 0.0


def balanced(layer: Layer, pattern: sparselinear.Pattern) -> Layer:
    """The layer with zeros where a span's magnitudes are smallest."""
    n, k = layer.codes.shape
    share = pattern.kept * pattern.span // sparselinear.BLOCK
    spans = np.abs(layer.codes.astype(np.int16)).reshape(n, k // pattern.span, pattern.span)
    order = np.argsort(np.argsort(-spans, axis=2, kind="stable"), axis=2, kind="stable")
    return Layer(np.where(order.reshape(n, k) < share, layer.codes, 0), layer.scales, layer.bias)


def uneven(layer: Layer, generator: np.random.Generator) -> Layer:
    """The layer with as many zeros as 4:16, its columns kept by energy as if inputs differed."""
    inputs = np.exp(generator.standard_normal(layer.codes.shape[1] // sparselinear.WINDOW))
    scores = np.square(layer.codes, dtype=np.float32) * np.repeat(inputs, sparselinear.WINDOW)
    keep = kept_unevenly(scores.astype(np.float32), PATTERNS["75%"])
    return Layer(np.where(keep, layer.codes, 0), layer.scales, layer.bias)


def stacked(
    layers: list[Layer],
    packed: Callable[[Layer], Sequence[npt.NDArray[Any]]],
    node: Callable[..., ir.Node],
    function: Callable[..., ir.Function],
) -> ir.Model:
    """Layers side by side, each of what `packed` makes of it and its bias."""
    shape = layers[0].codes.shape
    x, nodes, weights = graph_input(shape[1]), [], []
    for i, layer in enumerate(layers):
        arrays = [*packed(layer), layer.bias]
        values = [initializer(f"w{i}.{j}", array) for j, array in enumerate(arrays)]
        weights += values
        nodes.append(node(x, *values, shape=shape))
    model = model_of(x, nodes, [node.outputs[0] for node in nodes], weights)
    define_operator(model, function)
    return model


def sparse_model(layers: list[Layer], pattern: sparselinear.Pattern) -> ir.Model:
    """The layers as SparseLinear."""
    return stacked(
        layers,
        lambda layer: (*sparselinear.pack_sparse(layer.codes, pattern), layer.scales),
        sparselinear.sparse_node,
        sparselinear.sparse_function,
    )


def uneven_model(layers: list[Layer]) -> ir.Model:
    """The layers as SparseLinearUneven."""
    return stacked(
        layers,
        lambda layer: (*sparselinear_uneven.pack_uneven(layer.codes), layer.scales),
        sparselinear_uneven.uneven_node,
        sparselinear_uneven.uneven_function,
    )


def float_weight(layer: Layer, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """The weight [N, K] as it is stored."""
    return (layer.codes * layer.scales[:, None]).astype(dtype)


def float_reference(layer: Layer, x: Floats, dtype: npt.DTypeLike) -> npt.NDArray[np.float64]:
    """The layer with its stored weight, in float64."""
    w = float_weight(layer, dtype).astype(np.float64)
    return np.asarray(x.astype(np.float64) @ w.T + layer.bias)


def sparse_float_model(layers: list[Layer], dtype: npt.DTypeLike) -> ir.Model:
    """The layers as SparseLinearFloat."""
    return stacked(
        layers,
        lambda layer: sparselinear_float.pack_sparse_float(float_weight(layer, dtype)),
        sparselinear_float.sparse_float_node,
        sparselinear_float.sparse_float_function,
    )


def float_model(layers: list[Layer]) -> ir.Model:
    """The layers as MatMul and Add in float32."""
    x, nodes, weights, ys = graph_input(layers[0].codes.shape[1]), [], [], []
    for i, layer in enumerate(layers):
        w = initializer(f"w{i}", np.ascontiguousarray(float_weight(layer).T))
        bias = initializer(f"bias{i}", layer.bias)
        product = ir.node("MatMul", [x, w])
        add = ir.node("Add", [product.outputs[0], bias])
        weights += [w, bias]
        nodes += [product, add]
        ys.append(add.outputs[0])
    return model_of(x, nodes, ys, weights)


def stored_bytes(model: ir.Model) -> int:
    """Bytes of a model's weights."""
    tensors = [value.const_value for value in model.graph.initializers.values()]
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def measure(
    k: int, n: int, frames: int, *, layers: int, rounds: int, threads: int, largest: float
) -> Timing:
    """Times one shape on all sides in turn and verifies the sparse ones."""
    generator = np.random.default_rng(k * n + frames)
    dense = [Layer.random(generator, n, k, largest) for _ in range(layers)]
    sparse = {name: [balanced(each, p) for each in dense] for name, p in ALL_PATTERNS.items()}
    sparse[UNEVEN] = [uneven(each, generator) for each in dense]
    x: Floats = generator.standard_normal((frames, k), np.float32)
    models = {name: sparse_model(sparse[name], pattern) for name, pattern in PATTERNS.items()}
    models[UNEVEN] = uneven_model(sparse[UNEVEN])
    for name, (_, dtype) in FLOAT_FORMS.items():
        models[name] = sparse_float_model(sparse[name], dtype)
    models["QuantLinear"] = our_model(dense, "")
    models["dynamic int8"] = onnxruntime_model(dense, "")
    models["float32"] = float_model(dense)
    sides = {name: Runner(model, x, n, layers, threads) for name, model in models.items()}
    runs = {name: max(3, int(0.004 / side.seconds(3))) for name, side in sides.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(side.seconds(runs[name]) / layers)
    timing = Timing(k, n, frames)
    dense_bytes = stored_bytes(models["float32"])
    timing.size = {name: stored_bytes(model) / dense_bytes for name, model in models.items()}
    for name, seconds in times.items():
        timing.us[name] = median(seconds) * 1e6
        if name in RIVALS:
            continue
        timing.speed_up[name] = {
            rival: median(b / a for a, b in zip(seconds, times[rival], strict=True))
            for rival in RIVALS
        }
        kept = ALL_PATTERNS[name].kept / sparselinear.BLOCK if name in ALL_PATTERNS else 1
        timing.useful_gops[name] = 2 * k * n * frames * kept / median(seconds) / 1e9
        first = sparse[name][0] if name in ALL_PATTERNS else dense[0]
        if name in FLOAT_FORMS:
            reference = float_reference(first, x, FLOAT_FORMS[name][1])
            exact = float_reference(first, x, np.float32)
            timing.rounding = max(timing.rounding, largest_error(reference, exact))
        else:
            reference = in_float64(first, x, "", quantise=True)
        timing.error[name] = largest_error(sides[name].output(), reference)
    return timing


def _table(timings: list[Timing]) -> Table:
    title = "one linear layer: microseconds, × float32 / × dynamic int8"
    table = Table(title=title, box=box.MARKDOWN)
    sides = [*ALL_PATTERNS, "QuantLinear"]
    for name in ("K", "N", "frames", *sides, *RIVALS):
        table.add_column(name, justify="right")
    for t in timings:
        ours = [
            f"{t.us[side]:.0f}, {t.speed_up[side]['float32']:.1f} / "
            f"{t.speed_up[side]['dynamic int8']:.1f}"
            for side in sides
        ]
        table.add_row(*map(str, (t.k, t.n, t.frames)), *ours, *(f"{t.us[r]:.0f}" for r in RIVALS))
    return table


#: The peak that a side's useful operations are held against.
_PEAK_OF = {"QuantLinear": "int8"} | dict.fromkeys(FLOAT_FORMS, "float32")


def _summary(timings: list[Timing], peak: dict[str, float]) -> dict[str, dict[str, float]]:
    """Geometric means over the shapes, by side."""
    summary: dict[str, dict[str, float]] = {}
    for side in (*ALL_PATTERNS, "QuantLinear"):
        means = {f"× {r}": geometric_mean(t.speed_up[side][r] for t in timings) for r in RIVALS}
        means["× QuantLinear"] = geometric_mean(t.us["QuantLinear"] / t.us[side] for t in timings)
        means["size"] = geometric_mean(t.size[side] for t in timings)
        if peak:
            useful = geometric_mean(t.useful_gops[side] for t in timings)
            dense = geometric_mean(2e-3 * t.k * t.n * t.frames / t.us[side] for t in timings)
            means["share of peak"] = useful / peak[_PEAK_OF.get(side, "sparse")]
            means["× float32's peak"] = dense / peak["float32"]
        summary[side] = means
    return summary


def _summary_table(summary: dict[str, dict[str, float]]) -> Table:
    table = Table(title="geometric means", box=box.MARKDOWN)
    for name in ("kernel", *next(iter(summary.values()))):
        table.add_column(name)
    for side, means in summary.items():
        table.add_row(side, *(f"{mean:.2f}" for mean in means.values()))
    return table


@click.command()
@click.option("--shapes", default=SHAPES, show_default=True, help="K x N pairs.")
@click.option("--frames", default=FRAMES, show_default=True)
@click.option("--seven-bits", is_flag=True, help=f"Weights within ±{LARGEST}.")
@click.option("--layers", default=4, show_default=True, help="Layers in a model.")
@click.option("--rounds", default=9, show_default=True, help="Turns of each side.")
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Where to write figures."
)
def main(
    shapes: str,
    frames: str,
    seven_bits: bool,
    layers: int,
    rounds: int,
    threads: int,
    json_path: Path | None,
) -> None:
    """Compare SparseLinear with ONNX Runtime's float32 and dynamic int8."""
    console = Console(width=200)
    largest = LARGEST if seven_bits else quantlinear.QMAX
    timings = [
        measure(k, n, count, layers=layers, rounds=rounds, threads=threads, largest=largest)
        for k, n, count in track(list(cases(shapes, frames)), console=console, transient=True)
    ]
    peak = peaks()
    if seven_bits:
        peak |= {kind: peak[f"{kind} of 7 bits"] for kind in peak if f"{kind} of 7 bits" in peak}
    summary = _summary(timings, peak)
    error = max(max(t.error.values()) for t in timings)
    console.print(_table(timings))
    console.print(_summary_table(summary))
    of_even = geometric_mean(t.us["75%"] / t.us[UNEVEN] for t in timings)
    console.print(f"{UNEVEN} is {of_even:.3f} times as fast as 75%")
    rounding = max(t.rounding for t in timings)
    console.print(
        f"peaks, G operations/s: {peak}; largest error: {error:.1e}; "
        f"of rounding weights to bfloat16: {rounding:.1e}"
    )
    if json_path is not None:
        result = {
            "processor": processor(),
            "onnxruntime": ort.__version__,
            "onnx": onnx.__version__,
            "kernels": kernels.describe().chosen,
            "compiler": kernels.describe().compiler,
            "threads": threads,
            "clock": clock(threads).__name__,
            "largest_code": largest,
            "layers": layers,
            "rounds": rounds,
            "peaks": peak,
            "largest_error": error,
            "rounding_to_bfloat16": rounding,
            "summary": summary,
            "timings": [asdict(t) for t in timings],
        }
        json_path.write_text(json.dumps(result, indent=2) + "\n")
    if error > TOLERANCE:
        raise click.ClickException(
            f"a kernel differs from float64 by {error:.1e} of the largest output; "
            f"{TOLERANCE:.0e} is allowed."
        )


if __name__ == "__main__":
    main()
