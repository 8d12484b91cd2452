"""Queries, keys and values of one projection, taken apart by one Split.

torch's nn.MultiheadAttention (``_in_projection_packed``) sees the result of its ``in_proj`` as
[..., 3, width], moves the parts to the front and takes them by Gather; icefall's chunks are three
Slices. A Split of the last axis says both, as :mod:`..layers.merge_linears` writes it.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult
from ...fuse.region import Region
from ...linear import MatMulLayer, matmul_layers, only_reader
from ...rewrite import Patch, replace_value, scalar
from ...structure.scores import LAYOUT
from .pieces import pieces

#: Sizes of all axes but the last at which both are evaluated, from the front.
_TRIALS = ((2, 3, 4), (1, 5, 2))


@dataclasses.dataclass(frozen=True)
class PackedParts(InPlacePass):
    """[..., n · width] whose equal parts are read apart becomes a Split into n. Exact."""

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for layer in list(matmul_layers(model.graph)):
            parts = _sliced(layer) or _gathered(model.graph, layer)
            if parts:
                _split(layer, parts)
                journal.change(layer.id, f"its {len(parts)} parts are taken apart by one Split")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _width(layer: MatMulLayer) -> int:
    """Columns of a layer's result, 0 where they are not known."""
    shape = layer.output.shape
    width = shape[-1] if shape is not None and len(shape) > 1 else 0
    return width if isinstance(width, int) else 0


def _sliced(layer: MatMulLayer) -> list[ir.Value]:
    """The parts, in order, if Slices alone read them."""
    shape, width = layer.output.shape, _width(layer)
    if shape is None or any(user.op_type == "Split" for user in layer.output.consumers()):
        return []
    found = sorted(pieces(layer.output, len(shape) - 1, width), key=lambda each: each.begin)
    if len(found) < 2 or width % len(found):
        return []
    bounds = np.arange(len(found) + 1) * (width // len(found))
    if [(each.begin, each.end) for each in found] != list(itertools.pairwise(bounds.tolist())):
        return []
    return [each.value for each in found]


def _gathered(graph: ir.Graph, layer: MatMulLayer) -> list[ir.Value]:
    """The parts, in order, if they are moved to the front and read by Gather."""
    node = only_reader(layer.output)
    while node is not None and node.op_type in LAYOUT:
        readers = [user for user in node.outputs[0].consumers() if user.op_type == "Gather"]
        if len(readers) > 1:
            taken = {scalar(user.inputs[1]): user.outputs[0] for user in readers}
            parts = [taken[place] for place in sorted(taken, key=lambda place: place or 0)]
            return parts if _are_parts(graph, layer, parts) else []
        node = only_reader(node.outputs[0])
    return []


def _are_parts(graph: ir.Graph, layer: MatMulLayer, parts: list[ir.Value]) -> bool:
    """Whether evaluating gives the parts of the last axis."""
    packed, width = layer.output, _width(layer)
    if packed.shape is None or not width or width % len(parts):
        return False
    for sizes in _TRIALS:
        shape = (*sizes[: len(packed.shape) - 1], width)
        array = np.random.default_rng(0).standard_normal(shape, np.float32)
        for value, part in zip(parts, np.split(array, len(parts), axis=-1), strict=True):
            found = Region(graph, [packed], value).attempt({packed: array})
            if found is None or not np.array_equal(found, part):
                return False
    return True


def _split(layer: MatMulLayer, parts: list[ir.Value]) -> None:
    patch = Patch(layer.add or layer.node, behind=True)
    sizes = [_width(layer) // len(parts)] * len(parts)
    cut = patch.node("Split", (layer.output, patch.ints(*sizes)), {"axis": -1}, outputs=len(parts))
    for old, new in zip(parts, cut.outputs, strict=True):
        replace_value(old, new)
