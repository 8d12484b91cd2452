"""The convolutions of a subsampling: float32 or int8, dense or sparse.

    taskset -c 0 python benchmarks/subsampling.py

3x3 convolutions of stride 2, from 1 channel to C and from C to C, each followed by Relu, as static
QDQ (ONNX Runtime makes QLinearConv of them) or float32. The first has few products and a large
result, so that it is not clear that int8 pays. The four combinations run in turns; one thread, the
process's own clock, medians.

The second table has convolutions of many channels alone, of the kernel library: QuantConv2d and
SparseConv2d of codes that are there already, side by side.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial

import click
import numpy as np
import onnx
import onnxruntime as ort
from confpress.passes.fuse.subsampling_sparse import BalancedConvolution
from confpress.passes.sparsify import PATTERNS as SPARSE_PATTERNS
from confpress.runtime.costs.models import convolution_models
from confpress.runtime.session import create_session
from onnx import numpy_helper, parser
from rich.console import Console
from rich.table import Table

FORMATS = ("float32", "int8")
#: Kernel size, stride and channels.
CONVOLUTIONS = ((3, 2, 176), (3, 2, 256), (3, 2, 512), (1, 1, 256))
PATTERNS = ("8:16", "4:16", "2:16")
_FLOAT = "{y}_c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> ({x}, {w}, {w}_bias)\n"
_INT8 = (
    "{w}_f = DequantizeLinear <axis = 0> ({w}_codes, {w}_scales)\n"
    "{y}_c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> ({x}, {w}_f)\n"
)


def _quantised(x: str, zero: str) -> str:
    return (
        f"{x}_q = QuantizeLinear ({x}, scale, {zero})\n"
        f"{x}_d = DequantizeLinear ({x}_q, scale, {zero})\n"
    )


def model(first: str, second: str, channels: int) -> onnx.ModelProto:
    """Two convolutions in the given formats; input x [1, 1, time, 80], output y."""
    body, value = "", "x"
    for name, layer, result in ((first, "w1", "h"), (second, "w2", "y")):
        if name == "int8" and not value.endswith("_d"):
            body += _quantised(value, "middle" if value == "x" else "lowest")
            value += "_d"
        body += (_INT8 if name == "int8" else _FLOAT).format(x=value, w=layer, y=result)
        body += f"{result} = Relu ({result}_c)\n"
        value = result
        if name == "int8":
            body += _quantised(result, "lowest")
            value = f"{result}_d"
    generator = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {
        "scale": np.array(0.05, np.float32),
        "middle": np.array(128, np.uint8),
        "lowest": np.array(0, np.uint8),
    }
    for layer, inputs in (("w1", 1), ("w2", channels)):
        shape = (channels, inputs, 3, 3)
        weights[layer] = generator.standard_normal(shape, np.float32) * 0.1
        weights[f"{layer}_bias"] = np.zeros(channels, np.float32)
        weights[f"{layer}_codes"] = generator.integers(-127, 128, shape).astype(np.int8)
        weights[f"{layer}_scales"] = np.full(channels, 0.002, np.float32)
    text = (
        '<ir_version: 8, opset_import: ["": 17]>\n'
        f"net (float[1, 1, time, 80] x) => (float[1, {channels}, frames, bins] {value})\n"
        f"{{ {body} }}"
    )
    made = parser.parse_model(text)
    used = {name for node in made.graph.node for name in node.input}
    made.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in weights.items() if name in used
    )
    return made


def in_turns(runs: Sequence[Callable[[], object]], rounds: int) -> np.ndarray:
    """Milliseconds [runs, rounds], in turns."""
    times = np.empty((len(runs), rounds))
    for index in range(-2, rounds):
        for which, run in enumerate(runs):
            start = time.process_time()
            run()
            times[which, index] = (time.process_time() - start) * 1e3
    return times


def sparse(kernel: int, stride: int, channels: int, frames: int, rounds: int) -> list[str]:
    """A row of the second table: the convolution, milliseconds dense, and how much faster."""
    runs = []
    for name in PATTERNS:
        convolution = BalancedConvolution(
            (channels, channels, kernel, kernel), (stride, stride), SPARSE_PATTERNS[name]
        )
        *models, feeds = convolution_models(convolution, frames // 4)
        chosen = models if not runs else models[1:]
        runs += [partial(create_session(each).run, None, feeds) for each in chosen]
    times = in_turns(runs, rounds)
    ratios = (f"{float(np.median(times[0] / row)):.2f}" for row in times[1:])
    window = f"{kernel}x{kernel}, stride {stride}, {channels}"
    return [window, f"{np.median(times[0]):.2f}", *ratios]


@click.command()
@click.option("--channels", default=176, show_default=True)
@click.option("--frames", default=1001, show_default=True)
@click.option("--rounds", default=15, show_default=True)
def main(channels: int, frames: int, rounds: int) -> None:
    """Compare float32 and int8 for both convolutions."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    choices = list(itertools.product(FORMATS, FORMATS))
    sessions = [
        ort.InferenceSession(model(*choice, channels).SerializeToString(), options)
        for choice in choices
    ]
    x = np.random.default_rng(1).standard_normal((1, 1, frames, 80), np.float32)
    times = in_turns([partial(session.run, None, {"x": x}) for session in sessions], rounds)
    table = Table(title=f"{channels} channels, {frames} frames, milliseconds")
    for name in ("first", "second", "ms", "x float32"):
        table.add_column(name, justify="right")
    for choice, row in zip(choices, times, strict=True):
        ratio = float(np.median(times[0] / row))
        table.add_row(*choice, f"{np.median(row):.1f}", f"{ratio:.2f}")
    Console().print(table)
    table = Table(title=f"{frames // 4} rows of 20 columns, times as fast as QuantConv2d")
    for name in ("convolution", "QuantConv2d ms", *PATTERNS):
        table.add_column(name, justify="right")
    for convolution in CONVOLUTIONS:
        table.add_row(*sparse(*convolution, frames, rounds))
    Console().print(table)


if __name__ == "__main__":
    main()
