"""Convolution modules (Gulati et al. 2020): pointwise, GLU, depthwise, norm, pointwise.

The GLU is a product of two halves of the first layer's output, one of them through a
non-linearity; the halves come from a Split or from two Slices. Phi-4's has more pointwise layers,
some have no gate: the depthwise convolution between linear layers is what all have.
"""

from __future__ import annotations

import onnx_ir as ir

from .branch import Branch, NotRecognisedError, counted
from .gating import gate_half
from .modules import Convolution, ConvolutionModule, Linear, Norm


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
    gate = None
    if first.out_features == widths[2]:
        gate = gate_half(branch.flow, first.output, _input(depthwise))
        if gate is None:
            raise NotRecognisedError(
                f"its first layer puts out twice {depthwise.in_channels} channels, but no product "
                "of one half with a non-linearity of the other (GLU) stands before the depthwise "
                "convolution"
            )
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
    return layer.node in branch.flow.between(branch.join.source, _input(depthwise))


def _input(depthwise: Convolution) -> ir.Value:
    value = depthwise.node.inputs[0]
    assert value is not None, "a Conv has an input"
    return value


def _norm(branch: Branch, depthwise: Convolution) -> Norm | None:
    start = branch.flow.order[depthwise.node]
    for norm in branch.inner_norms:
        if branch.flow.order[norm.nodes[0]] > start:
            return norm
    return None
