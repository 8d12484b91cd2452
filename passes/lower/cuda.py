"""Target ``cuda``: what the CUDA provider of onnxruntime-gpu 1.31 has operators for.

Stored weights are read as they are and multiplied in the activation's type:

- INT8, INT4, UINT4: ``com.microsoft.MatMulNBits``;
- FLOAT8E4M3FN: ``com.microsoft.MatMulBlockQuantizedFp8Weight``, float16 activations alone.

The CUDA provider has no product of frames that are quantised one by one, so activations are not
quantised; and its operator for FP4 takes scales of a type (E4M3, one for 16 inputs) that the plans
here do not write. Formats without an operator are stored in codes, as on target ``portable``.
"""

from __future__ import annotations

import dataclasses
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult
from ..linear import MatMulLayer, matmul_layers
from ..operators.functions import define_operator
from ..operators.sparselinear import BLOCK
from ..operators.sparselinear_float import kept_of
from ..operators.sparselinear_half import (
    FAMILY,
    is_two_of_four,
    pack_sparse_half,
    sparse_half_function,
    sparse_half_node,
)
from ..rewrite import Patch, constant, replace_value
from .portable import DOMAIN, store_linears
from .qdq import bias_of, dynamic_source, refuse_lowered
from .stored import StoredWeight, stored_weight_of

_Number = TypeVar("_Number", bound=np.generic)

#: Bits of a code, and what is added to make it unsigned.
_INTEGERS: Final = {
    ir.DataType.INT8: (8, 128),
    ir.DataType.UINT8: (8, 0),
    ir.DataType.INT4: (4, 8),
    ir.DataType.UINT4: (4, 0),
}
#: Inputs that share a scale, as MatMulNBits takes them.
_BLOCKS: Final = (128, 64, 32, 16)
#: Scales per output channel are repeated for blocks of so many inputs.
_CHANNEL_BLOCK: Final = 128


@dataclasses.dataclass(frozen=True)
class LowerCuda(InPlacePass):
    """Linear layers with stored weights become products of the CUDA provider.

    Attributes:
        sparse: Make ``confpress.v1.SparseLinearHalf`` of float32 layers of which every block of 64
            inputs keeps few weights, or every four inputs two. Nobody has timed it against dense
            float16 yet, so it is off.
        kept: The most weights of a block that are few.
    """

    sparse: bool = False
    kept: int = 8

    def call(self, model: ir.Model) -> PassResult:
        refuse_lowered(model)
        journal = Journal()
        for layer in list(matmul_layers(model.graph)):
            dequantize = layer.weight.producer()
            weight = None if dequantize is None else stored_weight_of(dequantize)
            if weight is not None:
                _lower(layer, weight, journal)
            elif self.sparse:
                _make_sparse(model, layer, self.kept, journal)
        if any(node.domain == DOMAIN for node in model.graph):
            model.opset_imports[DOMAIN] = 1
        common.RemoveUnusedNodesPass()(model)
        store_linears(model, journal)
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


class _UnsupportedError(Exception):
    """Why a layer has no operator."""


def _lower(layer: MatMulLayer, weight: StoredWeight, journal: Journal) -> None:
    patch = Patch(layer.node)
    fp8 = ir.DataType.FLOAT8E4M3FN
    source = dynamic_source(layer.input) or dynamic_source(layer.input, fp8) or layer.input
    try:
        if weight.dtype in _INTEGERS:
            result = _integers(patch, source, weight)
        elif weight.dtype is fp8:
            result = _float8(patch, source, weight)
        else:
            raise _UnsupportedError(
                f"the CUDA provider multiplies no weights of type {weight.dtype.name} with scales "
                "like these; they are stored in codes and decoded when the model is loaded"
            )
    except _UnsupportedError as reason:
        journal.refuse(layer.id, str(reason))
        return
    result.type = ir.TensorType(ir.DataType.FLOAT)
    result.shape = layer.node.outputs[0].shape
    replace_value(layer.node.outputs[0], result)
    lost = "" if source is layer.input else ", activations are not quantised"
    operator = result.producer()
    assert operator is not None, "it was just made"
    name = operator.op_type if operator.op_type != "Cast" else "MatMulBlockQuantizedFp8Weight"
    journal.change(layer.id, f"{name} ({weight.dtype.name.lower()}){lost}")


def _integers(patch: Patch, source: ir.Value, weight: StoredWeight) -> ir.Value:
    bits, offset = _INTEGERS[weight.dtype]
    half = 1 << (bits - 1)
    block, scales = blocks_of(weight, _BLOCKS)
    codes = weight.codes.astype(np.int32).T + offset
    stated = np.zeros_like(weight.scales) if weight.points is None else weight.points
    points = _per_block(weight, stated.astype(np.int32) + offset, block, scales.shape)
    # The operator takes half of its codes for zero where it is not told otherwise.
    told = (points != half).any()
    zero_points = patch.constant(pack_bits(points, bits), "zero_point") if told else None
    k, n = weight.codes.shape
    padded = np.pad(codes, ((0, 0), (0, -k % block)), constant_values=half)
    packed = pack_bits(padded, bits).reshape(n, scales.shape[1], block * bits // 8)
    return patch.op(
        "MatMulNBits",
        source,
        patch.constant(packed, "packed"),
        patch.constant(scales, "scale"),
        zero_points,
        domain=DOMAIN,
        K=k,
        N=n,
        bits=bits,
        block_size=block,
    )


def _float8(patch: Patch, source: ir.Value, weight: StoredWeight) -> ir.Value:
    if weight.points is not None and weight.points.astype(np.float32).any():
        raise _UnsupportedError("its float8 weights have zero points, which no operator takes")
    block, scales = blocks_of(weight, _BLOCKS)
    codes = np.ascontiguousarray(weight.codes.T)
    half = patch.op("Cast", source, to=int(ir.DataType.FLOAT16))
    half.type = ir.TensorType(ir.DataType.FLOAT16)
    product = patch.op(
        "MatMulBlockQuantizedFp8Weight",
        half,
        patch.constant(ir.Tensor(codes, dtype=ir.DataType.FLOAT8E4M3FN), "fp8"),
        patch.constant(scales, "scale"),
        domain=DOMAIN,
        block_size=block,
    )
    product.type = ir.TensorType(ir.DataType.FLOAT16)
    return patch.op("Cast", product, to=int(ir.DataType.FLOAT))


def blocks_of(weight: StoredWeight, sizes: tuple[int, ...]) -> tuple[int, npt.NDArray[np.float32]]:
    """A block size and scales [N, ceil(K / block)] that say what a weight [K, N] says."""
    k, n = weight.codes.shape
    block = weight.block
    if not block:
        return _CHANNEL_BLOCK, _per_block(
            weight, weight.scales, _CHANNEL_BLOCK, (n, -(-k // _CHANNEL_BLOCK))
        )
    fitting = [size for size in sizes if block % size == 0]
    if weight.axis != 0 or (not fitting and block < k):
        raise _UnsupportedError(
            f"its blocks have {block} weights along axis {weight.axis}; the CUDA provider takes "
            f"multiples of {sizes[-1]} along the inputs"
        )
    size = fitting[0] if fitting else _CHANNEL_BLOCK
    return size, _per_block(weight, weight.scales, size, (n, -(-k // size)))


def _per_block(
    weight: StoredWeight, array: npt.NDArray[_Number], block: int, shape: tuple[int, int]
) -> npt.NDArray[_Number]:
    """Scales or zero points as [N, blocks] for blocks of another size."""
    if not weight.block:
        per_channel = np.broadcast_to(weight.spread(array), weight.codes.shape)[0]
        if weight.axis != 1 and array.size != 1:
            raise _UnsupportedError("its scales run along the inputs")
        return np.ascontiguousarray(np.broadcast_to(per_channel[:, None], shape))
    rows = np.arange(shape[1]) * block // weight.block
    return np.ascontiguousarray(array[rows].T)


def pack_bits(codes: npt.NDArray[np.int32], bits: int) -> npt.NDArray[np.uint8]:
    """Codes [N, K] in bytes along K, the first in the lowest bits."""
    per_byte = 8 // bits
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % per_byte)))
    parts = padded.reshape(len(codes), -1, per_byte).astype(np.uint8)
    shifted = parts << (np.arange(per_byte, dtype=np.uint8) * np.uint8(bits))
    packed: npt.NDArray[np.uint8] = np.bitwise_or.reduce(shifted, axis=2)
    return packed


def _make_sparse(model: ir.Model, layer: MatMulLayer, most: int, journal: Journal) -> None:
    stored = constant(layer.weight)
    if stored is None or stored.dtype != np.float32 or stored.size == 0:
        return
    rows = np.ascontiguousarray(stored.T)
    kept = kept_of(rows)
    if kept <= most:
        form = f"{kept}:{BLOCK}"
    elif is_two_of_four(rows):
        form = "2:4, for GPUs with sparse tensor cores: compute capability 8.0 or later"
    else:
        if np.count_nonzero(rows) <= rows.size / 2:
            journal.refuse(
                layer.id,
                f"some row keeps {kept} weights in a block of {BLOCK}, more than {most}, and more "
                "than two in some four, which sparse tensor cores do not take",
            )
        return
    with np.errstate(over="ignore"):
        halves = rows.astype(np.float16)
    if not np.isfinite(halves).all():
        journal.refuse(layer.id, "a weight is beyond float16's largest number")
        return
    patch = Patch(layer.node)
    values, columns = pack_sparse_half(halves)
    half = patch.op("Cast", layer.input, to=int(ir.DataType.FLOAT16))
    half.type, half.shape = ir.TensorType(ir.DataType.FLOAT16), layer.input.shape
    define_operator(model, sparse_half_function)
    node = sparse_half_node(
        half,
        patch.constant(values, "packed"),
        patch.constant(columns, "columns"),
        patch.constant(bias_of(layer, len(rows)), "bias"),
        shape=rows.shape,
        name=f"{patch.name}/{FAMILY}",
    )
    patch.graph.insert_before(layer.node, node)
    node.metadata_props[LAYER_KEY] = layer.id
    result = patch.op("Cast", node.outputs[0], to=int(ir.DataType.FLOAT))
    result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), layer.output.shape
    replace_value(layer.output, result)
    journal.change(layer.id, f"{FAMILY} ({form})")
