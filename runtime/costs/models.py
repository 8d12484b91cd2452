"""Models of one layer with random weights, dense and in a pattern, to be timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from ...passes.fuse.subsampling_sparse import BalancedConvolution
from ...passes.operators.functions import define, define_operator
from ...passes.operators.quantconv2d import quant_conv2d_function, quant_conv2d_node
from ...passes.operators.quantlinear import pack_int8, quant_linear_function, quant_linear_node
from ...passes.operators.sparseconv2d import (
    from_pieces,
    pack_sparse_conv2d,
    pieces,
    sparse_conv2d_function,
    sparse_conv2d_node,
)
from ...passes.operators.sparselinear import Pattern, pack_sparse, sparse_function, sparse_node
from ...passes.sparsify import kept_by

_OPSET = 17
#: Frequency columns that a convolution computes.
_COLUMNS = 20

Arrays = Mapping[str, np.ndarray]
#: The layer dense and sparse, and inputs of both.
Compared = tuple[ir.Model, ir.Model, Arrays]


def linear_models(n: int, k: int, pattern: Pattern, frames: int) -> Compared:
    """A linear layer [N, K]."""
    codes = _codes(n, k, pattern)
    x = {"x": np.random.default_rng(0).standard_normal((frames, k)).astype(np.float32)}

    def dense(model: ir.Model) -> ir.Node:
        define_operator(model, quant_linear_function)
        return quant_linear_node(
            *model.graph.inputs, *_constants(model, pack_int8(codes), *_ends(n)), shape=codes.shape
        )

    def sparse(model: ir.Model) -> ir.Node:
        define_operator(model, sparse_function)
        weights = _constants(model, *pack_sparse(codes, pattern), *_ends(n))
        return sparse_node(*model.graph.inputs, *weights, shape=codes.shape)

    return _model(x, dense), _model(x, sparse), x


def convolution_models(convolution: BalancedConvolution, frames: int) -> Compared:
    """A convolution without padding that computes so many frames of 20 columns."""
    n, channels, *kernel = convolution.shape
    shape, strides, pattern = convolution.shape, convolution.strides, convolution.pattern
    rows, width = pieces(np.empty(shape, np.int8)).shape
    codes = from_pieces(_codes(rows, width, pattern), shape)
    sizes = [
        (places - 1) * stride + taps
        for places, stride, taps in zip((frames, _COLUMNS), strides, kernel, strict=True)
    ]
    generator = np.random.default_rng(0)
    rows_of_codes: Arrays = {
        "codes": generator.integers(0, 256, (1, *sizes, channels)).astype(np.uint8),
        "scales": np.ones((1, sizes[0]), np.float32),
        "zeros": np.zeros((1, sizes[0]), np.uint8),
    }
    ends = np.ones((n, kernel[0]), np.float32), np.zeros(n, np.float32)
    pads = (0, 0, 0, 0)

    def dense(model: ir.Model) -> ir.Node:
        define(model, quant_conv2d_function(opset=_OPSET))
        return quant_conv2d_node(
            [*model.graph.inputs, *_constants(model, codes, *ends)], strides=strides, pads=pads
        )

    def sparse(model: ir.Model) -> ir.Node:
        define(model, sparse_conv2d_function(opset=_OPSET))
        weights = _constants(model, *pack_sparse_conv2d(codes, pattern), *ends)
        return sparse_conv2d_node(
            [*model.graph.inputs, *weights], shape=shape, strides=strides, pads=pads
        )

    return _model(rows_of_codes, dense), _model(rows_of_codes, sparse), rows_of_codes


def _codes(n: int, k: int, pattern: Pattern) -> np.ndarray:
    generator = np.random.default_rng(0)
    keep = kept_by(generator.random((n, k), np.float32), pattern)
    return np.where(keep, generator.integers(1, 128, (n, k)), 0).astype(np.int8)


def _ends(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scales and bias of a linear layer."""
    return np.ones(n, np.float32), np.zeros(n, np.float32)


def _model(feeds: Arrays, make: Callable[[ir.Model], ir.Node]) -> ir.Model:
    """A model of one node that reads the feeds."""
    inputs = [
        ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        for name, array in feeds.items()
    ]
    graph = ir.Graph(inputs, [], nodes=[], opset_imports={"": _OPSET}, name="layer")
    model = ir.Model(graph, ir_version=8)
    node = make(model)
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph.append(node)
    graph.outputs.append(node.outputs[0])
    return model


def _constants(model: ir.Model, *arrays: np.ndarray) -> list[ir.Value]:
    values = []
    for index, array in enumerate(arrays):
        tensor = ir.tensor(np.ascontiguousarray(array), name=f"constant_{index}")
        value = ir.Value(
            name=tensor.name,
            const_value=tensor,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
        )
        model.graph.register_initializer(value)
        values.append(value)
    return values
