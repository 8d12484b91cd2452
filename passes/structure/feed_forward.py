"""Feed-forward modules: a layer that widens, a pointwise non-linearity, a layer that narrows.

Gated ones (Shazeer 2020) have two projections side by side, as two layers or as one whose output
is split. The layers may be convolutions over a few frames (FastSpeech's). Where experts are routed
(:mod:`..rewrites.route_experts`), each has two layers for the frames that are gathered for it.
"""

from __future__ import annotations

import onnx_ir as ir

from ..operators.linear_layers import ACTIVATION_OF as OUR_LINEAR
from .activations import find_activation
from .branch import Branch, NotRecognisedError, counted
from .gating import gate_half
from .graph import ELEMENTWISE_OPS, LAYOUT_OPS
from .modules import Convolution, FeedForward, Linear


def recognise_feed_forward(branch: Branch) -> FeedForward:
    """The details of a feed-forward branch.

    Raises:
        NotRecognisedError: The branch is something else.
    """
    layers = _layers(branch)
    if branch.of_type("ScatterND", "ScatterElements"):
        return _routed(branch, layers)
    if len(layers) not in (2, 3):
        raise NotRecognisedError(
            f"a feed-forward module has two layers, or three with a gate; here are {len(layers)}"
        )
    *first, last = layers
    units = _in_features(last)
    widths = [_out_features(layer) for layer in first]
    packed = len(first) == 1 and widths[0] == 2 * units
    if not packed and any(width != units for width in widths):
        raise NotRecognisedError(
            f"the layers before the last put out {_list(widths)} features and the last takes "
            f"{units}; a feed-forward module has equal widths, or twice as many before a gate"
        )
    end = _input(last)
    between = _between(branch, first, end)
    if packed and gate_half(branch.flow, _output(first[0]), end) is None:
        raise NotRecognisedError(
            f"its first layer puts out twice {units} features, but no product of one half with a "
            "non-linearity of the other (gate) stands before the last layer"
        )
    for node in between:
        if not _is_pointwise(branch, node):
            raise NotRecognisedError(
                f"between its layers stands {node.op_type} ({node.name}), which is not pointwise"
            )
    return FeedForward(
        units=units,
        activation=_activation(first, between),
        gated=packed or len(first) == 2,
    )


def _routed(branch: Branch, layers: list[Linear | Convolution]) -> FeedForward:
    """The details of experts, of which every frame goes through one."""
    gathered = {node.outputs[0] for node in branch.of_type("GatherND", "Gather")}
    first = [layer for layer in layers if _input(layer) in gathered]
    units, activations = 0, set()
    for layer in first:
        behind = [each for each in layers if each not in first and _reads(branch, each, layer)]
        if len(behind) != 1 or _in_features(behind[0]) != _out_features(layer):
            raise NotRecognisedError(
                "it puts frames back that were taken out, but those do not go through two layers "
                "of one width each"
            )
        between = _between(branch, [layer], _input(behind[0]))
        if not all(_is_pointwise(branch, node) for node in between):
            raise NotRecognisedError("between the layers of an expert stands more than a function")
        activations.add(_activation([layer], between))
        units += _out_features(layer)
    if len(first) < 2 or len(activations) != 1:
        raise NotRecognisedError("it puts frames back, but has no experts of one kind")
    return FeedForward(units, activations.pop(), gated=False, experts=len(first))


def _reads(branch: Branch, layer: Linear | Convolution, other: Linear | Convolution) -> bool:
    """Whether a layer reads what another has computed, with no third between."""
    try:
        between = _between(branch, [other], _input(layer))
    except NotRecognisedError:
        return False
    reached = {value for node in between for value in branch.flow.inputs(node)}
    return _output(other) in reached | {_input(layer)}


def _layers(branch: Branch) -> list[Linear | Convolution]:
    for convolution in branch.convolutions:
        if convolution.group != 1 or set(convolution.strides) != {1}:
            raise NotRecognisedError(
                f"it holds a convolution with {counted(convolution.group, 'group')} and strides "
                f"{list(convolution.strides)}; a feed-forward module mixes all channels of every "
                "frame"
            )
    layers: list[Linear | Convolution] = [*branch.linears, *branch.convolutions]
    return sorted(layers, key=lambda layer: branch.flow.order[layer.node])


def _in_features(layer: Linear | Convolution) -> int:
    return layer.in_features if isinstance(layer, Linear) else layer.in_channels


def _out_features(layer: Linear | Convolution) -> int:
    return layer.out_features if isinstance(layer, Linear) else layer.out_channels


def _list(widths: list[int]) -> str:
    return " and ".join(str(width) for width in widths)


def _output(layer: Linear | Convolution) -> ir.Value:
    return layer.output if isinstance(layer, Linear) else layer.node.outputs[0]


def _input(layer: Linear | Convolution) -> ir.Value:
    value = layer.node.inputs[0] if isinstance(layer, Convolution) else layer.input
    assert value is not None, "a layer has an input"
    return value


def _between(branch: Branch, first: list[Linear | Convolution], end: ir.Value) -> list[ir.Node]:
    """The nodes between the layers, biases excluded."""
    own = {node for layer in first if isinstance(layer, Linear) for node in layer.nodes}
    starts = {_output(layer) for layer in first}
    nodes: set[ir.Node] = set()
    pending = [end]
    while pending:
        value = pending.pop()
        node = value.producer()
        if value is branch.join.source:
            raise NotRecognisedError(
                "its last layer also reads the stream itself, past the first layer"
            )
        if value in starts or node is None or node in nodes:
            continue
        nodes.add(node)
        pending.extend(branch.flow.inputs(node))
    return branch.flow.sort(nodes - own)


def _is_pointwise(branch: Branch, node: ir.Node) -> bool:
    return (
        node.op_type in ELEMENTWISE_OPS or node.op_type in LAYOUT_OPS or node in branch.norm_nodes
    )


def _activation(first: list[Linear | Convolution], between: list[ir.Node]) -> str:
    """The name of the non-linearity; without one, the operators between the layers."""
    values = [_output(layer) for layer in first] + [v for n in between for v in n.outputs]
    for layer in first:
        fused = OUR_LINEAR.get(layer.node.op_type, "")
        if fused:
            return fused
    for value in values:
        found = find_activation(value)
        if found is not None:
            return found.name
    names = dict.fromkeys(n.op_type for n in between if n.op_type not in LAYOUT_OPS)
    return " · ".join(names) or "none"
