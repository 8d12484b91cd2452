"""Fused operators written out again, for what reads a model by its standard operators.

Every operator of ours has its meaning as a function body in the model; where it stands there, the
recogniser sees the module that it was made from. Quantised linear layers stay: they are one layer
each.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult
from ..operators.addnorm import add_norm_function
from ..operators.attention import ROUNDED
from ..operators.convmodule import conv_module_function
from ..operators.depthwiseconv2d import OPERATORS as DEPTHWISE
from ..operators.quantconv2d import OPERATOR_OF as QUANT_CONV2D
from ..operators.quantlinear import DOMAIN
from ..operators.sparseconv2d import OPERATOR_OF as SPARSE_CONV2D
from ..operators.swoosh import SWOOSH
from ..rewrites.simplify import Simplify

_FUSED = frozenset((
    *ROUNDED,
    *ROUNDED.values(),
    *(conv_module_function(activation).name for activation in ("", "silu")),
    *(add_norm_function(norms).name for norms in (1, 2)),
    *QUANT_CONV2D.values(),
    *SPARSE_CONV2D.values(),
    *DEPTHWISE,
    SWOOSH,
))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Unfuse(InPlacePass):
    """Replaces fused operators by their bodies, simplified; lossless. Others stay as they are."""

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        count = sum(_is_fused(node.domain, node.op_type) for node in model.graph)
        if count:
            common.InlinePass(criteria=lambda f: _is_fused(f.domain, f.name))(model)
            Simplify()(model)
            journal.change("model", f"{count} fused operators written out")
        return journal.result(model)


def _is_fused(domain: str, name: str) -> bool:
    return domain == DOMAIN and name in _FUSED
