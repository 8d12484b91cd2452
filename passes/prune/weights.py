"""The last linear layer of a module: where its parts leave it, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..errors import ConfpressError
from ..rewrite import add_initializer, constant
from ..structure import Kind, Linear, Module


def last_linear(module: Module) -> Linear:
    """The layer whose inputs are the units, heads or channels of a module."""
    match module.kind:
        case Kind.SELF_ATTENTION:
            return module.attention.out
        case Kind.CONVOLUTION:
            return module.convolution.pointwise[-1]
    return module.linears[-1]


def features_of(module: Module, parts: Sequence[int]) -> npt.NDArray[np.intp]:
    """The inputs of the last linear layer that belong to some units, heads or channels."""
    places = np.array(parts, np.intp)
    if module.kind is not Kind.SELF_ATTENTION:
        return places
    width = module.attention.head_size
    return (places[:, None] * width + np.arange(width)).reshape(-1)


def matrix_of(linear: Linear) -> npt.NDArray[Any]:
    """The stored weight as [inputs, outputs], a view; kernels of size one have no third axis."""
    array = constant(linear.weight)
    assert array is not None, "a layer's weight is constant"
    matrix = np.moveaxis(array, linear.out_axis, -1)
    return matrix.reshape(linear.in_features, linear.out_features)


def reader_of(linear: Linear) -> ir.Node:
    """The node that reads the stored weight: the layer's, or the DequantizeLinear before it.

    Raises:
        ConfpressError: the weight is computed in another way.
    """
    if linear.weight is linear.weight_input:
        return linear.node
    producer = linear.weight_input.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        return producer
    raise ConfpressError(
        f"the weight of '{linear.id}' is computed from other constants; simplify the model first."
    )


def write_matrix(graph: ir.Graph, linear: Linear, matrix: npt.NDArray[Any]) -> None:
    """Gives a layer a weight of its own, [inputs, outputs]; other readers keep the old one."""
    reader, stored = reader_of(linear), constant(linear.weight)
    assert stored is not None, "a layer's weight is constant"
    moved = np.moveaxis(stored, linear.out_axis, -1)
    array = np.moveaxis(matrix.reshape(moved.shape), -1, linear.out_axis).astype(stored.dtype)
    kind = linear.weight.dtype
    tensor = ir.tensor(np.ascontiguousarray(array), dtype=kind)
    own = add_initializer(graph, f"{linear.weight.name}.pruned", tensor)
    for index, value in enumerate(reader.inputs):
        if value is linear.weight:
            reader.replace_input_with(index, own)


def zero_inputs(graph: ir.Graph, linear: Linear, which: Sequence[int]) -> None:
    """Writes zeros, or the codes that stand for zero, where a layer reads some inputs."""
    matrix = matrix_of(linear).copy()
    matrix[np.array(which, np.intp)] = _zero_code(linear)
    write_matrix(graph, linear, matrix)


def _zero_code(linear: Linear) -> npt.NDArray[Any]:
    """What dequantises to zero, for every output or once."""
    reader = reader_of(linear)
    if reader is linear.node or len(reader.inputs) < 3 or reader.inputs[2] is None:
        return np.zeros(1)
    codes = constant(reader.inputs[2])
    assert codes is not None, "zero points of weights are constant"
    if codes.size > 1 and (
        codes.ndim != 1 or reader.attributes.get_int("axis", 1) != linear.out_axis
    ):
        raise ConfpressError(f"the zero points of '{linear.id}' do not go by output channels.")
    return codes.reshape(-1)
