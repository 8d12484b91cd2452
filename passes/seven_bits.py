"""Int8 weights of seven bits, for processors whose products of bytes are summed in 16 bits.

Without VNNI, x86 multiplies unsigned by signed bytes and adds two products with saturation to
int16 (``vpmaddubsw``): 2 · 255 · 127 is beyond 32767, 2 · 255 · 64 is not. ONNX Runtime saturates
there; the kernel library widens first, which it need not do for weights of seven bits.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .base import InPlacePass, Journal, PassResult, layer_of
from .formats.number import Floats
from .lower.stored import StoredWeight, stored_weight_of
from .rewrite import Patch

#: The largest code of which two products with 255 fit into 16 bits.
LARGEST: Final = 64


@dataclasses.dataclass(frozen=True)
class SevenBits(InPlacePass):
    """Int8 weights that meet int8 or uint8 inputs are rounded once more, to codes within ±64.

    Works on the interchange model. A channel whose codes lie within ±64 stays as it is.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            weight = stored_weight_of(node)
            if weight is None or not _multiplied_as_integers(node, weight):
                continue
            codes, scales = seven_bits(weight)
            if np.array_equal(codes, weight.codes):
                continue
            patch = Patch(node, node.inputs[0].name)  # type: ignore[union-attr]
            node.replace_input_with(0, patch.constant(codes, "int7"))
            node.replace_input_with(1, patch.constant(scales, "scale"))
            journal.change(layer_of(node), f"weights within ±{LARGEST}")
        return journal.result(model)


def seven_bits(weight: StoredWeight) -> tuple[npt.NDArray[np.int8], Floats]:
    """Codes within ±64 and their scales.

    Args:
        weight: Int8 codes with a scale per channel, or one for all.
    """
    axes = tuple(each for each in range(weight.codes.ndim) if each != weight.axis)
    magnitudes = np.abs(weight.codes.astype(np.float32))
    largest = magnitudes.max(axis=axes) if weight.scales.size > 1 else magnitudes.max()
    grown = np.maximum(largest / LARGEST, 1).astype(np.float32).reshape(weight.scales.shape)
    codes = np.rint(weight.codes / weight.spread(grown)).astype(np.int8)
    return codes, weight.scales * grown


def _multiplied_as_integers(node: ir.Node, weight: StoredWeight) -> bool:
    if weight.dtype is not ir.DataType.INT8 or weight.block or weight.points is not None:
        return False
    users = node.outputs[0].consumers()
    inputs = [user.inputs[0].producer() for user in users if user.inputs[0] is not None]
    return any(each is not None and each.op_type == "DequantizeLinear" for each in inputs)
