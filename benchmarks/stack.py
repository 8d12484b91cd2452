"""A stack of feed-forward modules in one graph: SparseLinear against ONNX Runtime and OpenVINO.

    taskset -c 0 python benchmarks/stack.py --json stack.json

The graph is 12 times [512 -> 2048 -> SiLU -> 512] on 128 frames, each layer with weights of its own
and a bias. Sides, timed in turn on the same input with one thread: float32 and dynamic int8
(DynamicQuantizeMatMul) in ONNX Runtime, dense QuantLinear, SparseLinear at 75 and 87.5 % of zeros
and, where the package `openvino` is installed, static QDQ in OpenVINO. Its ranges are those of the
measured input itself; it is refused where the compiled graph multiplies in floats.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from confpress.passes.operators import quantlinear, sparselinear
from confpress.passes.operators.functions import define_operator
from confpress.runtime import kernels
from linear import Floats, Layer, Runner, clock, graph_input, initializer, model_of, processor
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sparse import PATTERNS, balanced

RIVALS = ("float32", "dynamic int8", "OpenVINO int8")


class Stack:
    """Builds one chain of layers; `linear` makes a layer of a value, with the name of its values.

    A layer without an activation of its own gets SiLU in standard operators.
    """

    def __init__(self, layers: list[Layer], *, fused_silu: bool) -> None:
        self._layers = layers
        self._fused_silu = fused_silu
        self.nodes: list[ir.Node] = []
        self.weights: list[ir.Value] = []

    def constant(self, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
        """A weight of the model."""
        self.weights.append(initializer(name, array))
        return self.weights[-1]

    def node(self, op: str, inputs: list[ir.Value | None], **more: Any) -> ir.Value:
        """A node of one output."""
        self.nodes.append(ir.node(op, inputs, **more))
        return self.nodes[-1].outputs[0]

    def model(self, linear: Callable[[Stack, ir.Value, Layer, str, str], ir.Value]) -> ir.Model:
        """The whole stack."""
        x = graph_input(self._layers[0].codes.shape[1])
        y = x
        for i, layer in enumerate(self._layers):
            activation = "silu" if i % 2 == 0 else ""
            y = linear(self, y, layer, str(i), activation)
            if activation and not self._fused_silu:
                y = self.node("Mul", [y, self.node("Sigmoid", [y])])
        return model_of(x, self.nodes, [y], self.weights)


def _matrix(layer: Layer) -> Floats:
    """Float32 [K, N]."""
    return np.ascontiguousarray((layer.codes * layer.scales[:, None]).T, np.float32)


def _float32(stack: Stack, x: ir.Value, layer: Layer, i: str, _: str) -> ir.Value:
    product = stack.node("MatMul", [x, stack.constant(f"w{i}", _matrix(layer))])
    return stack.node("Add", [product, stack.constant(f"bias{i}", layer.bias)])


def _dynamic(stack: Stack, x: ir.Value, layer: Layer, i: str, _: str) -> ir.Value:
    weight = stack.constant(f"w{i}", np.ascontiguousarray(layer.codes.T))
    scales, bias = stack.constant(f"s{i}", layer.scales), stack.constant(f"bias{i}", layer.bias)
    inputs = [x, weight, scales, None, bias]
    return stack.node("DynamicQuantizeMatMul", inputs, domain="com.microsoft")


def _dense(stack: Stack, x: ir.Value, layer: Layer, i: str, activation: str) -> ir.Value:
    weight = stack.constant(f"w{i}", quantlinear.pack_int8(layer.codes))
    scales, bias = stack.constant(f"s{i}", layer.scales), stack.constant(f"bias{i}", layer.bias)
    node = quantlinear.quant_linear_node(
        x, weight, scales, bias, shape=layer.codes.shape, activation=activation
    )
    stack.nodes.append(node)
    return node.outputs[0]


def _sparse(pattern: sparselinear.Pattern) -> Callable[..., ir.Value]:
    def linear(stack: Stack, x: ir.Value, layer: Layer, i: str, activation: str) -> ir.Value:
        packed, columns = sparselinear.pack_sparse(layer.codes, pattern)
        values = [
            stack.constant(f"w{i}", packed),
            stack.constant(f"columns{i}", columns),
            stack.constant(f"s{i}", layer.scales),
            stack.constant(f"bias{i}", layer.bias),
        ]
        node = sparselinear.sparse_node(x, *values, shape=layer.codes.shape, activation=activation)
        stack.nodes.append(node)
        return node.outputs[0]

    return linear


def _static(ranges: list[float]) -> Callable[..., ir.Value]:
    """QDQ around every product, activations int8 with one constant scale."""

    def linear(stack: Stack, x: ir.Value, layer: Layer, i: str, _: str) -> ir.Value:
        scale = stack.constant(f"xs{i}", np.float32(ranges[int(i)] / 127))
        zero = stack.constant(f"xz{i}", np.int8(0))
        codes = stack.node("QuantizeLinear", [x, scale, zero])
        restored = stack.node("DequantizeLinear", [codes, scale, zero])
        weight = stack.constant(f"w{i}", np.ascontiguousarray(layer.codes.T))
        scales = stack.constant(f"s{i}", layer.scales)
        zeros = stack.constant(f"z{i}", np.zeros(len(layer.scales), np.int8))
        matrix = stack.node("DequantizeLinear", [weight, scales, zeros], attributes={"axis": 1})
        product = stack.node("MatMul", [restored, matrix])
        return stack.node("Add", [product, stack.constant(f"bias{i}", layer.bias)])

    return linear


def _ranges(layers: list[Layer], x: Floats) -> list[float]:
    """The largest magnitude of every layer's input."""
    ranges = []
    for i, layer in enumerate(layers):
        ranges.append(float(np.abs(x).max()))
        x = x @ _matrix(layer) + layer.bias
        if i % 2 == 0:
            x = x / (1 + np.exp(-x))
    return ranges


class OpenVino:
    """The static model in OpenVINO's processor plugin."""

    def __init__(self, model: ir.Model, x: Floats, threads: int) -> None:
        import openvino

        self._clock = clock(threads)
        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        # A static shape is its fastest case.
        network = openvino.Core().read_model(ir.to_proto(model).SerializeToString())
        network.reshape(list(x.shape))
        compiled = openvino.Core().compile_model(network, "CPU", options)
        self.version = openvino.__version__
        products = [
            str(node.get_rt_info()["runtimePrecision"].value)
            for node in compiled.get_runtime_model().get_ops()
            if "FullyConnected" in str(node.get_rt_info()["layerType"].value)
            or "MatMul" in str(node.get_rt_info()["layerType"].value)
        ]
        if not products or not all(p.endswith("8") for p in products):
            raise click.ClickException(f"OpenVINO multiplies in {sorted(set(products))}.")
        self._request = compiled.create_infer_request()
        self._request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def seconds(self, runs: int) -> float:
        """Seconds of one run, the mean of `runs`."""
        start = self._clock()
        for _ in range(runs):
            self._request.infer()
        return (self._clock() - start) / runs


def _sides(depth: int, width: int, inner: int, frames: int, threads: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    shapes = [(inner, width), (width, inner)] * depth
    dense = [Layer.random(generator, n, k) for n, k in shapes]
    x: Floats = generator.standard_normal((frames, width), np.float32)

    def runner(model: ir.Model) -> Runner:
        return Runner(model, x, width, 1, threads)

    sides: dict[str, Any] = {
        "float32": runner(Stack(dense, fused_silu=False).model(_float32)),
        "dynamic int8": runner(Stack(dense, fused_silu=False).model(_dynamic)),
    }
    if importlib.util.find_spec("openvino") is not None:
        static = Stack(dense, fused_silu=False).model(_static(_ranges(dense, x)))
        sides["OpenVINO int8"] = OpenVino(static, x, threads)
    model = Stack(dense, fused_silu=True).model(_dense)
    for activation in ("", "silu"):
        define_operator(model, quantlinear.quant_linear_function, activation)
    sides["QuantLinear"] = runner(model)
    for name in ("75%", "87.5%"):
        layers = [balanced(layer, PATTERNS[name]) for layer in dense]
        model = Stack(layers, fused_silu=True).model(_sparse(PATTERNS[name]))
        for activation in ("", "silu"):
            define_operator(model, sparselinear.sparse_function, activation)
        sides[f"SparseLinear {name}"] = runner(model)
    return sides


@click.command()
@click.option("--depth", default=12, show_default=True, help="Feed-forward modules.")
@click.option("--width", default=512, show_default=True)
@click.option("--inner", default=2048, show_default=True)
@click.option("--frames", default=128, show_default=True)
@click.option("--rounds", default=15, show_default=True, help="Turns of each side.")
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Where to write figures."
)
def main(
    depth: int,
    width: int,
    inner: int,
    frames: int,
    rounds: int,
    threads: int,
    json_path: Path | None,
) -> None:
    """Compare a stack of sparse feed-forward modules with ONNX Runtime and OpenVINO."""
    console = Console()
    sides = _sides(depth, width, inner, frames, threads)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side.seconds(2)
    for _ in track(range(rounds), console=console, transient=True):
        for name, side in sides.items():
            times[name].append(side.seconds(1))
    rivals = [name for name in RIVALS if name in sides]
    title = f"{depth} x [{width} -> {inner} -> SiLU -> {width}], {frames} frames"
    table = Table(title=title, box=box.MARKDOWN)
    for column in ("", "ms", *(f"x {rival}" for rival in rivals)):
        table.add_column(column, justify="right")
    speed_up = {
        name: {
            rival: median(b / a for a, b in zip(seconds, times[rival], strict=True))
            for rival in rivals
        }
        for name, seconds in times.items()
    }
    for name, seconds in times.items():
        ratios = [f"{speed_up[name][rival]:.2f}" for rival in rivals]
        table.add_row(name, f"{1000 * median(seconds):.2f}", *ratios)
    console.print(table)
    if json_path is not None:
        result = {
            "processor": processor(),
            "onnxruntime": ort.__version__,
            "openvino": getattr(sides.get("OpenVINO int8"), "version", None),
            "kernels": kernels.describe().chosen,
            "compiler": kernels.describe().compiler,
            "threads": threads,
            "clock": clock(threads).__name__,
            "shape": [depth, width, inner, frames],
            "rounds": rounds,
            "ms": {name: 1000 * median(seconds) for name, seconds in times.items()},
            "speed_up": speed_up,
        }
        json_path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
