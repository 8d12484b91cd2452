"""Convolutions that say how much they pad, not by which rule.

PyTorch's ``padding="same"`` and TensorFlow's become ``auto_pad``, which leaves the amounts to the
runtime. Without strides they follow from the kernel alone, and later passes read amounts.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from ...base import InPlacePass, Journal, PassResult, layer_of


@dataclasses.dataclass(frozen=True)
class ExplicitPadding(InPlacePass):
    """Rewrites ``auto_pad`` of Conv nodes whose strides are 1 as ``pads``. Lossless.

    What ``SAME_UPPER`` adds to the frames is ``dilation · (kernel - 1)``, half in front and half
    behind, of an odd number one more behind; ``SAME_LOWER`` one more in front (ONNX, Conv).
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in model.graph:
            pads = _pads(node)
            if pads is None:
                continue
            node.attributes.pop("auto_pad")
            node.attributes.add(ir.AttrInt64s("pads", pads))
            journal.change(layer_of(node), "padding written as numbers")
        return journal.result(model)


def _pads(node: ir.Node) -> list[int] | None:
    """Amounts in front of and behind every axis; None where they stay as they are."""
    given = node.attributes
    rule = given.get_string("auto_pad", "NOTSET")
    filters = node.inputs[1].shape if node.op_type == "Conv" and node.inputs[1] else None
    if rule not in ("SAME_UPPER", "SAME_LOWER") or node.domain or filters is None:
        return None
    kernel = [size for size in filters[2:] if isinstance(size, int)]
    if len(kernel) != len(filters) - 2 or set(given.get_ints("strides", (1,))) != {1}:
        return None
    dilations = given.get_ints("dilations", (1,) * len(kernel))
    totals = [d * (size - 1) for d, size in zip(dilations, kernel, strict=True)]
    less = [total // 2 for total in totals]
    more = [total - total // 2 for total in totals]
    return less + more if rule == "SAME_UPPER" else more + less
