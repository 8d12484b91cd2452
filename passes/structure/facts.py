"""What people want to read about a module or layer beside its counts."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ..operators.linear_layers import QUANTISED
from .graph import constant_expression
from .modules import (
    Branches,
    Convolution,
    ConvolutionModule,
    FeedForward,
    Linear,
    Module,
    SelfAttention,
    Subsampling,
)

Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]


def activations_of(layer: Linear | Convolution) -> str:
    """How the input is quantised, read off the nodes before it."""
    if layer.node.op_type in QUANTISED or layer.node.op_type == "DynamicQuantizeMatMul":
        return "dynamic"
    value = layer.node.inputs[0] if isinstance(layer, Convolution) else layer.input
    dequantize = value.producer() if value is not None else None
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return "dynamic" if _is_decoded(value) else "float"
    scale = dequantize.inputs[1]
    is_static = scale is not None and constant_expression(scale) is not None
    return "static" if is_static else "dynamic"


def _is_decoded(value: ir.Value | None) -> bool:
    """Whether a value is ``(Cast(codes) - zeros) · scales``, its axes moved or not.

    So the body of QuantConv2d begins: a scale for each row fits into no DequantizeLinear.
    """
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Transpose":
        value = node.inputs[0]
    for operator in ("Mul", "Sub", "Cast"):
        node = value.producer() if value is not None else None
        if node is None or node.op_type != operator:
            return False
        value = node.inputs[0]
    return value is not None and value.dtype is not None and value.dtype.is_integer()


def facts_of(module: Module) -> Facts:
    """What a reader wants to know about a module beside its counts."""
    facts: dict[str, Fact] = {}
    match module.details:
        case SelfAttention() as each:
            facts |= {
                "heads": each.heads,
                "head_size": each.head_size,
                "position": str(each.position),
            }
        case FeedForward() as each:
            facts |= {"units": each.units, "activation": each.activation, "gated": each.gated}
            if each.experts > 1:
                facts["experts"] = each.experts
        case ConvolutionModule() as each:
            facts |= {
                "channels": each.channels,
                "kernel": each.kernel,
                "glu": each.gate_half is not None,
            }
        case Branches() as each:
            facts |= {
                "heads": each.attention.heads,
                "head_size": each.attention.head_size,
                "position": str(each.attention.position),
                "units": each.gate_out.in_features,
                "kernel": max(each.depthwise.kernel),
            }
        case Subsampling() as each:
            facts |= {"factor": each.factor}
        case None:
            pass
    if module.norm is not None:
        facts["norm"] = module.norm.type
    if module.scale != 1:
        facts["scale"] = round(module.scale, 6)
    if module.caches:
        facts["caches"] = len(module.caches)
    return facts
