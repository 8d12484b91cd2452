"""Error repair: quantised layers whose outputs err less on what calibration saw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...passes.format_choice import eligible_layers
from ...passes.format_plan import PLAIN, FormatPlan, LayerFormat
from ...passes.formats import compensate, quantize_matrix
from ...passes.formats.number import Floats
from ...passes.linear import MatMulLayer
from ...passes.quantize_linear import Repaired
from ...passes.rewrite import constant
from ...runtime.calibration.calibrate import Observed, calibrate
from ...runtime.calibration.second_moments import MOST_BYTES, groups
from ...runtime.calibration.statistics import Statistics
from ...runtime.interface import FloatArray
from ...runtime.progress import progress

#: `gptq`: rounding errors are made good by the rows that follow. `bias`: the mean of a layer's
#: output stays. `both`: the first on inputs less their mean, then the second.
Repair = Literal["gptq", "bias", "both"]


def repair(
    model: ir.Model,
    features: Iterable[FloatArray],
    plan: FormatPlan,
    how: Repair,
    *,
    most_bytes: int = MOST_BYTES,
) -> dict[str, Repaired]:
    """Repairs the layers that a plan gives codes.

    Args:
        model: The float32 model as it will be quantised.
        features: float32 [mels, frames] each, as often as they are asked for.
        plan: Formats by layer.
        how: Which repair.
        most_bytes: Bytes of second moments in memory at once.

    Returns:
        By layer id.

    Raises:
        ConfpressError: the model cannot be calibrated, or a weight holds infinities or NaN.
    """
    layers = [
        layer
        for layer in eligible_layers(model)
        if layer.id in plan.layers and plan.layers[layer.id].weight not in PLAIN
    ]
    found: dict[str, Repaired] = {}
    for group in groups(layers, most_bytes):
        names = dict.fromkeys(str(layer.input.name) for layer in group)
        watched = [Observed(n, -1, gram=how != "bias", histogram=False) for n in names]
        seen = calibrate(model, features, watched)
        with progress("Repair", len(group), "layers") as advance:
            for layer in group:
                form = plan.layers[layer.id]
                found[layer.id] = _repaired(layer, form, seen[str(layer.input.name)], how)
                advance(1)
    return found


def _repaired(layer: MatMulLayer, form: LayerFormat, seen: Statistics, how: Repair) -> Repaired:
    weight = constant(layer.weight)
    assert weight is not None, "eligible layers have constant weights"
    name = str(layer.weight.name)
    mean = seen.channel_sum / seen.channel_count
    if how == "bias":
        importance = seen.channel_square_sum / seen.channel_count
        matrix = quantize_matrix(weight, form.scheme, importance, name=name)
    else:
        assert seen.gram is not None, "it was asked for"
        moments = seen.gram / seen.channel_count
        if how == "both":
            moments -= np.outer(mean, mean)
        matrix = compensate(weight, form.scheme, moments, name=name)
    return Repaired(matrix, None if how == "gptq" else _lost(mean, weight, matrix.dequantized()))


def _lost(mean: npt.NDArray[np.float64], weight: Floats, left: Floats) -> npt.NDArray[np.float32]:
    """What rounding takes from the mean of a layer's output, [N]."""
    lost: npt.NDArray[np.float32] = (mean @ (weight - left)).astype(np.float32)
    return lost
