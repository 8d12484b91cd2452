"""What the inputs of layers weigh, measured on speech."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...passes.format_choice import eligible_layers
from ...passes.sparsify import sparse_convolutions
from .calibrate import Observed, calibrate


def mean_squares(
    model: ir.Model, features: Iterable[npt.NDArray[np.float32]]
) -> dict[str, npt.NDArray[np.float32]]:
    """E[x²] by channel of the inputs of the layers that can be sparse, by the inputs' names.

    Args:
        model: As its zeros will be set.
        features: float32 [mels, frames] each; one at a time is in memory.
    """
    axes = {str(layer.input.name): -1 for layer in eligible_layers(model)}
    axes |= {str(node.inputs[0].name): 1 for node in sparse_convolutions(model.graph)}  # type: ignore[union-attr]
    watched = [Observed(name, axis, histogram=False) for name, axis in axes.items()]
    found = calibrate(model, features, watched)
    return {
        name: (each.channel_square_sum / each.channel_count).astype(np.float32)
        for name, each in found.items()
    }
