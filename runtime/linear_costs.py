"""What a linear layer costs on this machine, dense and sparse: a table that lowering reads."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from pydantic import Field

from ..passes.errors import ConfpressError
from ..passes.operators.quantlinear import define_quant_linear, pack_int8, quant_linear_node
from ..passes.operators.sparselinear import DENSE, Pattern, define_sparse, pack_sparse, sparse_node
from ..passes.sparsify import kept_by
from .kernels import describe
from .machine import describe_machine
from .record import Record, read_record
from .session import SessionOptions, create_session
from .turns import take_turns, warm_up

_OPSET = 17
_ROUNDS = 15
#: Frames of the measured input; 5 s of speech after a subsampling by four.
FRAMES = 128


class LayerCost(Record):
    """The time of one layer."""

    n: int = Field(description="output channels")
    k: int = Field(description="inputs")
    form: str = Field(description="`dense`, or the pattern of the non-zeros, such as `4:16`")
    microseconds: float = Field(description="median over the rounds")


class CostTable(Record):
    """Times of layers, and where they hold: another processor or runtime has other times."""

    cpu: str
    kernels: str = Field(description="the path of the kernel library")
    onnxruntime: str
    threads: int
    frames: int
    layers: tuple[LayerCost, ...]

    def costs(self) -> dict[tuple[int, int, str], float]:
        """As lowering reads them."""
        return {(each.n, each.k, each.form): each.microseconds for each in self.layers}


def measure_costs(
    layers: Iterable[tuple[int, int, Pattern]], *, threads: int = 1, frames: int = FRAMES
) -> CostTable:
    """Times layers of random weights, each dense and in its pattern, in turn.

    Args:
        layers: N, K and pattern of each.
        threads: Of the session.
        frames: Of the input.

    Raises:
        ConfpressError: The kernel library was not built.
    """
    costs: dict[tuple[int, int, str], LayerCost] = {}
    options = SessionOptions(threads=threads)
    for n, k, pattern in sorted(layers, key=str):
        x = np.random.default_rng(0).standard_normal((frames, k)).astype(np.float32)
        sessions = [
            create_session(make(_codes(n, k, pattern)), options)
            for make in (_dense, partial(_sparse, pattern=pattern))
        ]
        runs = [partial(session.run, None, {"x": x}) for session in sessions]
        for run in runs:
            warm_up(run)
        medians = np.median(take_turns(runs, _ROUNDS, seed=0), axis=1) * 1e3
        for form, time in zip((DENSE, str(pattern)), medians, strict=True):
            costs[n, k, form] = LayerCost(n=n, k=k, form=form, microseconds=round(float(time), 1))
    return CostTable(**_here(threads), frames=frames, layers=tuple(costs.values()))


def read_costs(path: Path, *, threads: int = 1) -> CostTable:
    """Reads a table that was measured here.

    Raises:
        ConfpressError: The file cannot be read or is no table, or it was measured elsewhere.
    """
    table = read_record(CostTable, path, "cost table")
    for name, here in _here(threads).items():
        if getattr(table, name) != here:
            raise ConfpressError(
                f"the cost table {path} was measured with {name} {getattr(table, name)}, "
                f"and here it is {here}; give the name of a new file to measure again."
            )
    return table


def _here(threads: int) -> dict[str, object]:
    return {
        "cpu": describe_machine()["cpu"],
        "kernels": describe().chosen,
        "onnxruntime": ort.__version__,
        "threads": threads,
    }


def _codes(n: int, k: int, pattern: Pattern) -> np.ndarray:
    generator = np.random.default_rng(0)
    keep = kept_by(generator.random((n, k), np.float32), pattern)
    return np.where(keep, generator.integers(1, 128, (n, k)), 0).astype(np.int8)


def _dense(codes: np.ndarray) -> ir.Model:
    model, x, scales, bias = _empty(codes)
    node = quant_linear_node(
        x, _constant(model, "w", pack_int8(codes)), scales, bias, shape=codes.shape
    )
    define_quant_linear(model)
    return _with(model, node)


def _sparse(codes: np.ndarray, pattern: Pattern) -> ir.Model:
    model, x, scales, bias = _empty(codes)
    packed, columns = pack_sparse(codes, pattern)
    weights = _constant(model, "w", packed), _constant(model, "columns", columns)
    node = sparse_node(x, *weights, scales, bias, shape=codes.shape)
    define_sparse(model)
    return _with(model, node)


def _empty(codes: np.ndarray) -> tuple[ir.Model, ir.Value, ir.Value, ir.Value]:
    """A model with an input x, and scales and bias of a layer."""
    n, k = codes.shape
    x = ir.Value(name="x", shape=ir.Shape(["frames", k]), type=ir.TensorType(ir.DataType.FLOAT))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": _OPSET}, name="layer")
    model = ir.Model(graph, ir_version=8)
    scales = _constant(model, "scales", np.ones(n, np.float32))
    return model, x, scales, _constant(model, "bias", np.zeros(n, np.float32))


def _constant(model: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        const_value=tensor,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
    )
    model.graph.register_initializer(value)
    return value


def _with(model: ir.Model, node: ir.Node) -> ir.Model:
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    model.graph.append(node)
    model.graph.outputs.append(node.outputs[0])
    return model
