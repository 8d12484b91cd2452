"""Sums that only a norm reads, kept from a fusion of ONNX Runtime that is slower.

Where nothing but a LayerNormalization reads an Add, ONNX Runtime makes SkipLayerNormalization of
the two, which on CPUs goes through each row element by element: measured for 250 frames of width
176, it takes five times as long as Add and LayerNormalization do (1.31.1, one thread). The
operator Sum of two is an Add by another name, which the fusion does not look for.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...linear import only_user


@dataclasses.dataclass(frozen=True)
class NormSums(InPlacePass):
    """Rewrites ``LayerNormalization(Add(a, b))`` as ``LayerNormalization(Sum(a, b))``."""

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in model.graph:
            if node.op_type != "Add" or node.domain:
                continue
            reader = only_user(node.outputs[0])
            if reader is not None and reader.op_type == "LayerNormalization":
                node.op_type = "Sum"
                journal.change(layer_of(node), "sum and norm stay two operators")
        return journal.result(model)
