"""The size of the file that a plan of formats comes to."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ...passes.base import run
from ...passes.format_choice import eligible_layers
from ...passes.format_plan import PLAIN, FormatPlan
from ...passes.formats import quantize_matrix
from ...passes.lower.portable import LowerPortable
from ...passes.quantize import Quantize
from ...passes.quantize_linear import Repaired
from ...passes.rewrite import constant
from ...passes.rewrites.versions import MinimiseVersions
from ...runtime.model_file import file_bytes, save_model
from .wish import Wish


def portable_size(model: ir.Model, plan: FormatPlan, wish: Wish) -> int:
    """Bytes of the file of target ``portable`` with a plan; scales are not searched for.

    Args:
        model: The float32 model.
        plan: Formats of its linear layers.
        wish: Says which convolutions will be int8, and what repairs add.
    """
    plain = FormatPlan(
        layers={
            name: form if form.weight in PLAIN else form.model_copy(update={"method": "maximum"})
            for name, form in plan.layers.items()
        }
    )
    copy = model.clone()
    repaired = _stand_ins(copy, plain) if wish.repair in ("bias", "both") else {}
    quantize = Quantize(plan=plain, repaired=repaired)
    run([wish.with_convolutions(quantize), LowerPortable(), MinimiseVersions()], copy)
    with tempfile.TemporaryDirectory(prefix="confpress-") as folder:
        path = Path(folder) / "model.onnx"
        save_model(copy, path)
        return file_bytes(path)


def _stand_ins(model: ir.Model, plan: FormatPlan) -> dict[str, Repaired]:
    """Layers with biases, as large as repaired ones."""
    found = {}
    for layer in eligible_layers(model):
        form = plan.layers.get(layer.id)
        if form is not None and form.weight not in PLAIN:
            weight = constant(layer.weight)
            assert weight is not None, "eligible layers have constant weights"
            bias = np.ones(weight.shape[1], np.float32)
            found[layer.id] = Repaired(quantize_matrix(weight, form.scheme), bias)
    return found
