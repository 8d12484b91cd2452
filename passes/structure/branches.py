"""Attention and a convolutional gate side by side, merged (Peng et al. 2022, Kim et al. 2022).

Branchformer and E-Branchformer have both in one residual branch, each behind a norm of its own. The
gate (cgMLP) is a layer that widens, a product of one half of its output with the convolution of the
other half, and a layer that narrows. What follows both merges them: concatenation or sum, perhaps a
depthwise convolution, a linear layer.
"""

from __future__ import annotations

from .branch import Branch, NotRecognisedError, counted
from .modules import Branches, Convolution, Linear, SelfAttention


def recognise_branches(branch: Branch, attention: SelfAttention) -> Branches:
    """The details of a branch with attention, a depthwise convolution and more linear layers.

    Args:
        branch: The branch.
        attention: Its attention.

    Raises:
        NotRecognisedError: The branch is something else.
    """
    source = branch.join.source

    def before(layer: Linear) -> set[object]:
        return set(branch.flow.between(source, layer.input))

    attending = {each.node for each in attention.layers}
    beside = [
        layer
        for layer in branch.linears
        if layer.node not in attending and attention.softmax not in before(layer)
    ]
    if len(beside) != 2:
        raise NotRecognisedError(
            f"attention and a depthwise convolution share it, and beside the attention stand "
            f"{counted(len(beside), 'linear layer')}; a convolutional gate has two"
        )
    first, last = beside
    convolved = [c for c in branch.convolutions if c.is_depthwise and c.node in before(last)]
    if first.node not in before(last) or len(convolved) != 1:
        raise NotRecognisedError(
            "attention and a depthwise convolution share it, and between the two layers beside the "
            f"attention stand {counted(len(convolved), 'depthwise convolution')}; a convolutional "
            "gate has one"
        )
    _check_halves(first, convolved[0], last)
    return Branches(
        attention=attention,
        gate_in=first,
        gate_out=last,
        depthwise=convolved[0],
    )


def _check_halves(first: Linear, depthwise: Convolution, last: Linear) -> None:
    widths = (first.out_features, 2 * depthwise.in_channels, 2 * last.in_features)
    if len(set(widths)) != 1:
        raise NotRecognisedError(
            f"attention and a depthwise convolution share it, and the layer beside the attention "
            f"puts out {first.out_features} features where the convolution takes "
            f"{depthwise.in_channels} and the next layer {last.in_features}; in a convolutional "
            "gate both take half"
        )
