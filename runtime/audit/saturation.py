"""Sums that would saturate on processors without VNNI, counted by emulation on speech.

ONNX Runtime multiplies uint8 inputs by int8 weights there with ``vpmaddubsw``, which adds two
products that are neighbours along the reduction in int16, with saturation.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from pydantic import Field

from ...passes.products import products
from ..calibration.calibrate import MAX_FRAMES, Watched
from ..interface import FloatArray
from ..record import Record
from ..session import DEFAULT_OPTIONS, SessionOptions

#: Sums that are looked at together, to bound the memory.
_AT_ONCE = 2**22
_INT16 = np.iinfo(np.int16)


class Saturation(Record):
    """One linear layer of a portable model."""

    id: str = Field(description="layer id")
    sums: int = Field(description="sums of two products that the speech led to")
    saturated: int = Field(description="those of them that do not fit into 16 bits")


def saturations(
    model: ir.Model, features: Iterable[FloatArray], options: SessionOptions = DEFAULT_OPTIONS
) -> tuple[Saturation, ...]:
    """Counts saturating sums of a model's ``DynamicQuantizeMatMul``, in the order of the graph.

    Args:
        model: Lowered for target portable.
        features: float32 [mels, frames] each.
        options: How the model is run; its own sums are those of this machine.

    Raises:
        ConfpressError: the model fails.
    """
    layers = [each for each in products(model.graph) if _may_saturate(each.node, each.stored)]
    if not layers:
        return ()
    names = [str(each.input.name) for each in layers]
    watched = Watched.start(model, names, options, MAX_FRAMES)
    sums, saturated = np.zeros(len(layers), np.int64), np.zeros(len(layers), np.int64)
    for utterance in features:
        for values in watched.values(utterance):
            for place, (layer, value) in enumerate(zip(layers, values, strict=True)):
                weight = layer.weight.numpy()
                inputs = rounded_to_bytes(value)
                sums[place] += len(inputs) * -(-weight.shape[0] // 2) * weight.shape[1]
                saturated[place] += saturated_sums(inputs, weight)
    return tuple(
        Saturation(id=layer.layer, sums=int(all_), saturated=int(beyond))
        for layer, all_, beyond in zip(layers, sums, saturated, strict=True)
    )


def rounded_to_bytes(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    """What DynamicQuantizeLinear makes of a tensor: codes of 0 to 255, [frames, K]."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low) / 255 or 1.0
    codes = np.clip(np.rint(values / scale) + np.rint(-low / scale), 0, 255)
    rows: npt.NDArray[np.int32] = codes.astype(np.int32).reshape(-1, values.shape[-1])
    return rows


def saturated_sums(inputs: npt.NDArray[np.int32], weight: npt.NDArray[np.int8]) -> int:
    """How many sums of two neighbouring products leave int16.

    Args:
        inputs: Codes of 0 to 255, [frames, K].
        weight: int8 [K, N].
    """
    even = weight.shape[0] // 2 * 2  # a last row without a neighbour cannot leave it
    first, second = (weight[start:even:2].astype(np.int32) for start in (0, 1))
    # Only these pairs of weights can: 255 times their sum is what they come to at most.
    pair, column = np.nonzero(255 * np.abs(first + second) > _INT16.max)
    a, b = first[pair, column], second[pair, column]
    count = 0
    step = max(_AT_ONCE // max(len(pair), 1), 1)
    for start in range(0, len(inputs), step):
        rows = inputs[start : start + step]
        both = rows[:, 0:even:2][:, pair] * a + rows[:, 1:even:2][:, pair] * b
        count += int(((both > _INT16.max) | (both < _INT16.min)).sum())
    return count


def _may_saturate(node: ir.Node, stored: str) -> bool:
    return node.op_type == "DynamicQuantizeMatMul" and stored == "int8"
