"""The middle of a convolution module in one operator, on frames as the layers around it have them.

Between the pointwise layers stand a GLU, a mask, the depthwise convolution and an activation, on
[batch, channels, frames] between two Transposes. ConvModule computes them on [batch, frames,
channels]. That it computes the same is shown by evaluating both.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult
from ..operators.convmodule import MOST_TAPS, ConvActivation, conv_module_function, conv_module_node
from ..operators.functions import define
from ..rewrite import Patch, constant, producer, replace_value, scalar
from ..rewrites.convolution.pointwise import is_swap
from ..structure import ConvolutionModule, Kind, Linear, Module, recognise
from ..structure.activations import fusible_activation
from .region import Array, NotFusedError, Region, evaluate_operator, unlike

#: Largest difference between the graph and the operator, as a share of the largest output.
_TOLERANCE = 1e-5
#: Batch and frames of the result at which both are evaluated.
_CASES = ((2, 5), (1, 8))


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What the operator is told.

    Attributes:
        layer: The pointwise layer whose output it reads.
        filters: Of the depthwise convolution, float32 [C, 1, K].
        bias: Of the depthwise convolution, float32 [C].
        columns: First columns of values and gates.
        pads: Frames of zeros in front and behind.
        mask: The graph's mask [batch, 1, frames], if there is one.
        inverted: Whether that mask says which frames do count.
        activation: What follows the convolution.
        ends: Values [batch, frames, C] that the operator replaces, all the same.
    """

    layer: Linear
    filters: Array
    bias: Array
    columns: tuple[int, int]
    pads: tuple[int, int]
    mask: ir.Value | None
    inverted: bool
    activation: ConvActivation
    ends: tuple[ir.Value, ...]


@dataclasses.dataclass(frozen=True)
class FuseConvModule(InPlacePass):
    """Convolution modules get ``confpress.v1.ConvModule``, with the SiLU that follows.

    Lossless up to float arithmetic: each module is evaluated before and after on small inputs.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for module in recognise(model).of_kind(Kind.CONVOLUTION):
            try:
                _fuse(model, module)
            except NotFusedError as error:
                journal.refuse(module.id, f"the convolution module stays as it is: {error}")
            else:
                journal.change(module.id, "gate, mask, convolution in one operator, ConvModule")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _fuse(model: ir.Model, module: Module) -> None:
    parts = _read(module.convolution)
    function = conv_module_function(parts.activation, model.opset_imports.get("", 1))
    patch = Patch(_producer(parts.ends[0]), f"{module.id}.middle")
    if parts.mask is None:
        mask = patch.constant(np.zeros((1, 1, 1), bool), "no_mask")
    else:
        mask = patch.op("Not", parts.mask) if parts.inverted else parts.mask
    node = conv_module_node(
        [
            parts.layer.output,
            patch.constant(parts.filters, "filters"),
            patch.constant(parts.bias, "bias"),
            mask,
        ],
        channels=len(parts.bias),
        columns=parts.columns,
        pads=parts.pads,
        activation=parts.activation,
        name=f"{patch.name}/ConvModule",
    )
    # In the graph a refused node is an unused one, and goes with all that only it reads.
    patch.graph.insert_before(patch.anchor, node)
    difference = _difference(model.graph, parts, node, function)
    if difference > _TOLERANCE:
        raise NotFusedError(unlike(difference))
    define(model, function)
    node.metadata_props[LAYER_KEY] = module.id
    for end in parts.ends:
        replace_value(end, node.outputs[0])


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None, "a node computes it"
    return node


def _read(details: ConvolutionModule) -> _Parts:
    """Reads the parts of a module.

    Raises:
        NotFusedError: The operator cannot express it.
    """
    conv, layer = details.depthwise, details.pointwise[0]
    filters = constant(conv.node.inputs[1])
    bias = constant(conv.bias)
    if details.gate_half is None:
        raise NotFusedError("it has no GLU, and the operator has one")
    if layer.channels_first:
        raise NotFusedError("its first layer is a convolution yet, not a matrix product of frames")
    if filters is None or filters.ndim != 3 or filters.dtype != np.float32:
        raise NotFusedError("its filters are no constant float32 filters over frames")
    if filters.shape[1] != 1 or filters.shape[0] != conv.in_channels:
        raise NotFusedError("its convolution has several filters a channel")
    if filters.shape[2] > MOST_TAPS:
        raise NotFusedError(f"its filters have {filters.shape[2]} taps, above {MOST_TAPS}")
    if set(conv.strides) != {1} or set(conv.node.attributes.get_ints("dilations", [1])) != {1}:
        raise NotFusedError("its convolution skips frames")
    if conv.node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        raise NotFusedError("the padding of its convolution is automatic")
    pads = conv.node.attributes.get_ints("pads", [0, 0])
    mask, inverted = _mask(conv.node.inputs[0])
    activation, ends = _ends(conv.node.outputs[0])
    half = layer.out_features // 2
    return _Parts(
        layer=layer,
        filters=filters,
        bias=np.zeros(len(filters), np.float32) if bias is None else bias,
        columns=(0, half) if details.gate_half == 1 else (half, 0),
        pads=(pads[0], pads[1]),
        mask=mask,
        inverted=inverted,
        activation=activation,
        ends=ends,
    )


def _mask(value: ir.Value | None) -> tuple[ir.Value | None, bool]:
    """The condition of a Where that clears frames before the convolution, and if it is inverted."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Where":
        return None, False
    condition, yes, no = node.inputs
    assert condition is not None
    # icefall copies its mask for every channel; what is copied broadcasts.
    copied = producer(condition, "Expand")
    condition = copied.inputs[0] if copied is not None else condition
    assert condition is not None
    if condition.shape is None or len(condition.shape) != 3 or condition.shape[1] != 1:
        raise NotFusedError("its mask is not known to have the axes [batch, 1, frames]")
    for fill, inverted in ((yes, False), (no, True)):
        if scalar(fill) == 0:
            return condition, inverted
    raise NotFusedError("its mask writes something else than zeros")


def _ends(convolved: ir.Value) -> tuple[ConvActivation, tuple[ir.Value, ...]]:
    """The activation, and the values [batch, frames, channels] behind it."""
    activated = fusible_activation(convolved, ("silu",))
    last = convolved if activated is None else activated.output
    users = last.consumers()
    if not users or not all(is_swap(user) for user in users):
        names = ", ".join(sorted({user.op_type for user in users}))
        raise NotFusedError(
            f"on [batch, channels, frames] follows {names or 'nothing'}, where the operator gives "
            "[batch, frames, channels] behind the convolution or its SiLU"
        )
    ends = tuple(user.outputs[0] for user in users)
    return ("silu" if activated is not None else "", ends)


def _difference(graph: ir.Graph, parts: _Parts, node: ir.Node, function: ir.Function) -> float:
    """The largest difference in all trials, as a share of the largest output."""
    given = [parts.layer.output, *([parts.mask] if parts.mask is not None else [])]
    region = Region(graph, given, parts.ends[0])
    x, filters, bias, mask = node.inputs
    assert x is not None and filters is not None and bias is not None and mask is not None
    worst = 0.0
    # Filters may reach back over frames that a cache or a Pad has put in front.
    begun = max(parts.filters.shape[2] - 1 - sum(parts.pads), 0)
    for batch, few in _CASES:
        frames = begun + few
        generator = np.random.default_rng(frames)
        shape = (batch, frames, parts.layer.out_features)
        arrays: dict[ir.Value, Array] = {x: generator.standard_normal(shape, np.float32)}
        masked = np.zeros((1, 1, 1), bool)
        if parts.mask is not None:
            masked = generator.random((batch, 1, frames)) < 0.4
            arrays[parts.mask] = masked ^ parts.inverted
        try:
            expected = region.evaluate(arrays)
            arrays |= {filters: parts.filters, bias: parts.bias, mask: masked}
            found = evaluate_operator(node, function, arrays)
        except ValueError:  # numpy's: the sizes do not fit
            return np.inf
        if expected.shape != found.shape:
            return np.inf
        worst = max(worst, float(np.abs(expected - found).max() / np.abs(expected).max()))
    return worst
