"""Queries, keys and values of one projection, cut before heads are and not head by head.

SpeechBrain projects all three at once, and splits heads first: a head's columns are its query, its
key and its value. With the columns of the weights in another order the cut comes first, as
:mod:`..layers.merge_linears` leaves it, and each part lies in one piece for whatever reads it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult
from ...linear import MatMulLayer, matmul_layers, only_user
from ...rewrite import Patch, constant, replace_value
from .pieces import pieces


@dataclasses.dataclass(frozen=True)
class PackedHeads(InPlacePass):
    """[..., H · n · d] seen as H heads of n parts becomes n parts [..., H, d]. Exact."""

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for layer in list(matmul_layers(model.graph)):
            packed = _packed(layer)
            if packed is not None:
                _unpack(layer, packed)
                journal.change(
                    layer.id,
                    f"its {len(packed.parts)} parts are cut before its {packed.heads} heads",
                )
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _Packed:
    """A layer's result by head: the Reshape that splits heads, and who reads which part of them."""

    split: ir.Node
    heads: int
    size: int
    parts: list[list[ir.Value]]


def _packed(layer: MatMulLayer) -> _Packed | None:
    weight = constant(layer.weight)
    split = only_user(layer.output)
    if weight is None or weight.dtype != np.float32 or split is None or split.op_type != "Reshape":
        return None
    shape = split.outputs[0].shape
    if shape is None or len(shape) < 3 or split.outputs[0].is_graph_output():
        return None
    heads, width = shape[-2], shape[-1]
    if not isinstance(heads, int) or not isinstance(width, int):
        return None
    if heads == 1 or heads * width != weight.shape[1]:
        return None
    read = pieces(split.outputs[0], len(shape) - 1, width)
    size = read[0].end - read[0].begin if read else 0
    if not size or size == width or any(p.end - p.begin != size or p.begin % size for p in read):
        return None
    parts: list[list[ir.Value]] = [[] for _ in range(width // size)]
    for piece in read:
        parts[piece.begin // size].append(piece.value)
    return _Packed(split, heads, size, parts) if width % size == 0 else None


def _unpack(layer: MatMulLayer, packed: _Packed) -> None:
    weight, bias = constant(layer.weight), constant(layer.bias)
    assert weight is not None, "asked for before"
    patch = Patch(layer.node)
    result = patch.op("MatMul", layer.input, patch.constant(_by_part(weight, packed), "by_part"))
    if bias is not None:
        result = patch.op("Add", result, patch.constant(_by_part(bias, packed), "bias_by_part"))
    result.type, result.shape = layer.output.type, layer.output.shape
    widths = [packed.heads * packed.size] * len(packed.parts)
    cut = patch.node("Split", (result, patch.ints(*widths)), {"axis": -1}, outputs=len(widths))
    apart = Patch(packed.split)
    sizes = _sizes_of_part(apart, packed)
    zeros = packed.split.attributes.get_int("allowzero", 0)
    for part, readers in zip(cut.outputs, packed.parts, strict=True):
        by_head = apart.op("Reshape", part, sizes, allowzero=zeros)
        for old in readers:
            by_head.type, by_head.shape = old.type, old.shape
            replace_value(old, by_head)


def _sizes_of_part(patch: Patch, packed: _Packed) -> ir.Value:
    sizes = packed.split.inputs[1]
    known = constant(sizes)
    if known is not None:
        return patch.ints(*known[:-2].tolist(), packed.heads, packed.size)
    leading = patch.op("Slice", sizes, patch.ints(0), patch.ints(-2))
    return patch.op("Concat", leading, patch.ints(packed.heads, packed.size), axis=0)


def _by_part(array: npt.NDArray[np.float32], packed: _Packed) -> npt.NDArray[np.float32]:
    """The last axis from [heads, parts, size] to [parts, heads, size]."""
    shape = (*array.shape[:-1], packed.heads, len(packed.parts), packed.size)
    return np.ascontiguousarray(array.reshape(shape).swapaxes(-3, -2)).reshape(array.shape)
