"""Convolution modules (Gulati et al. 2020): pointwise, GLU, depthwise, norm, pointwise.

The GLU is a product of two halves of the first layer's output, one of them through a
non-linearity; the halves come from a Split or from two Slices. Phi-4's has more pointwise layers,
some have no gate: the depthwise convolution between linear layers is what all have.
"""

from __future__ import annotations

import onnx_ir as ir

from .branch import Branch, NotRecognisedError, counted
from .graph import ELEMENTWISE_OPS, scalar
from .modules import Convolution, ConvolutionModule, Linear, Norm

#: Element-wise, but no non-linearity: biases, masks, scales, formats.
_STRAIGHT_OPS = frozenset({
    "Add", "Sub", "Mul", "Div", "Cast", "CastLike", "Where", "Identity", "Dropout",
    "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip


def recognise_convolution(branch: Branch) -> ConvolutionModule:
    """The details of a convolution branch.

    Raises:
        NotRecognisedError: The branch is something else.
    """
    depthwise = _depthwise(branch)
    before = [layer for layer in branch.linears if _is_before(branch, layer, depthwise)]
    after = [layer for layer in branch.linears if layer not in before]
    if not before or not after:
        missing = "before" if not before else "after"
        raise NotRecognisedError(
            f"no pointwise layer stands {missing} its depthwise convolution; a convolution module "
            "has one on each side"
        )
    first = before[0]
    widths = {1: depthwise.in_channels, 2: 2 * depthwise.in_channels}
    if first.out_features not in widths.values():
        raise NotRecognisedError(
            f"its first layer puts out {first.out_features} channels and the depthwise convolution "
            f"takes {depthwise.in_channels}; they are equal, or twice as many before a GLU"
        )
    gate = _gate_half(branch, first, depthwise) if first.out_features == widths[2] else None
    return ConvolutionModule(
        depthwise=depthwise,
        channels=depthwise.in_channels,
        kernel=max(depthwise.kernel),
        gate_half=gate,
        norm=_norm(branch, depthwise),
        pointwise=branch.linears,
    )


def _depthwise(branch: Branch) -> Convolution:
    found = [c for c in branch.convolutions if c.is_depthwise]
    if len(found) != 1:
        raise NotRecognisedError(
            f"it holds {counted(len(found), 'depthwise convolution')}; a convolution module has one"
        )
    others = [c for c in branch.convolutions if not c.is_depthwise]
    if others:
        raise NotRecognisedError(
            "beside its depthwise convolution stands one that mixes channels over "
            f"{max(others[0].kernel)} frames ({others[0].node.name})"
        )
    return found[0]


def _is_before(branch: Branch, layer: Linear, depthwise: Convolution) -> bool:
    value = depthwise.node.inputs[0]
    return value is not None and layer.node in branch.flow.between(branch.join.stream, value)


def _norm(branch: Branch, depthwise: Convolution) -> Norm | None:
    start = branch.flow.order[depthwise.node]
    for norm in branch.inner_norms:
        if branch.flow.order[norm.nodes[0]] > start:
            return norm
    return None


def _gate_half(branch: Branch, first: Linear, depthwise: Convolution) -> int:
    """Which half of the first layer's output is the gate (goes through a non-linearity)."""
    value = depthwise.node.inputs[0]
    assert value is not None, "a Conv has an input"
    region = branch.flow.between(first.output, value)
    for node in region:
        if node.op_type != "Mul" or len(branch.flow.inputs(node)) != 2:
            continue
        halves = [_half(branch, first, operand) for operand in branch.flow.inputs(node)]
        if {half for half, _ in halves} == {0, 1}:
            (left, left_is_gate), (right, right_is_gate) = halves
            if left_is_gate != right_is_gate:
                return left if left_is_gate else right
    raise NotRecognisedError(
        f"its first layer puts out twice {depthwise.in_channels} channels, but no product of one "
        "half with a non-linearity of the other (GLU) was found before the depthwise convolution"
    )


def _half(branch: Branch, first: Linear, value: ir.Value) -> tuple[int, bool]:
    """The half of the first layer's output that computes a value (-1: both), and if it was bent."""
    halves: set[int] = set()
    bent = False
    pending, seen = [value], set()
    while pending:
        current = pending.pop()
        node = current.producer()
        if current in seen or node is None:
            continue
        seen.add(current)
        whole = node.inputs[0] if node.inputs else None
        if current is first.output:
            halves.update((0, 1))
        elif node.op_type == "Split" and len(node.outputs) == 2:
            halves.add(current.index() or 0)
        elif node.op_type == "Slice" and whole is not None:
            halves.add(0 if scalar(node.inputs[1]) == 0 else 1)
        else:
            bent |= node.op_type in ELEMENTWISE_OPS - _STRAIGHT_OPS
            pending.extend(branch.flow.inputs(node))
    return (halves.pop() if len(halves) == 1 else -1), bent
