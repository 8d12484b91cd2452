"""The subsampling's convolutions in operators of ours, with the channels last from end to end.

The interchange model has, one after the other, convolutions in int8 with constant ranges and
depthwise ones in float32, activations, and masks of frames between them. Here a convolution of few
products becomes DepthwiseConv2d and any other QuantConv2d, or SparseConv2d where its zeros are
balanced and that is faster. The codes between two of them have a
scale for each time row, made when the model runs, in place of the constant ranges: what is computed
is closer to the float32 model than the interchange model is. A mask of frames is then a factor of
the rows' scales.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult, layer_of
from ..operators.depthwiseconv2d import (
    ConvActivation,
    depthwise_conv2d_function,
    depthwise_conv2d_node,
    reads_codes,
)
from ..operators.functions import LEAST_OPSET, define
from ..operators.quantconv2d import quant_conv2d_function, quant_conv2d_node
from ..operators.sparseconv2d import (
    pack_sparse_conv2d,
    sparse_conv2d_function,
    sparse_conv2d_node,
)
from ..operators.sparselinear import WINDOW, Costs
from ..rewrite import Patch, replace_value
from .region import NotFusedError
from .subsampling_sparse import BalancedConvolution, balanced
from .subsampling_steps import Step, before_codes, is_conv2d, read_steps, shape_readers

_CHANNELS_LAST = (0, 2, 3, 1)
_CHANNELS_FIRST = (0, 3, 1, 2)

#: A value with the channels last: Y in float32, or codes with the scales and zeros of rows.
_Rows = tuple[ir.Value, ...]


@dataclasses.dataclass(frozen=True)
class FuseSubsampling(InPlacePass):
    """Chains of two-dimensional convolutions get ``DepthwiseConv2d`` and ``QuantConv2d``.

    Only chains that hold an int8 convolution over several channels: others have nothing to gain.

    Attributes:
        costs: Measured times that decide between sparse and dense.
        reach: Bytes that a table look-up reaches where the model will run: BLOCK with AVX-512
            VBMI, else WINDOW.
    """

    costs: Costs = dataclasses.field(default_factory=dict)
    reach: int = WINDOW

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        done: set[ir.Node] = set()
        for node in list(model.graph):
            if node in done or not is_conv2d(node):
                continue
            try:
                steps = _worthy(model, node)
            except NotFusedError as error:
                journal.refuse(layer_of(node), f"the convolution stays as it is: {error}")
                continue
            done.update(step.conv for step in steps)
            sparse = [self._sparse(step) for step in steps]
            _rewrite(model, steps, sparse)
            for step, found in zip(steps, sparse, strict=True):
                journal.change(layer_of(step.conv), f"{_operator(step, found)}, channels last")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)

    def _sparse(self, step: Step) -> BalancedConvolution | None:
        """A step that is faster sparse; None for every other."""
        found = balanced(step, self.reach)
        return found if found is not None and found.is_faster(self.costs, self.reach) else None


def _operator(step: Step, sparse: BalancedConvolution | None) -> str:
    if sparse is not None:
        return f"SparseConv2d ({sparse.pattern})"
    return "DepthwiseConv2d" if step.scales is None else "QuantConv2d"


def _worthy(model: ir.Model, first: ir.Node) -> list[Step]:
    """A convolution and those that follow it.

    Raises:
        NotFusedError: The operators cannot express the first, or bring nothing.
    """
    if model.opset_imports.get("", 1) < LEAST_OPSET:
        raise NotFusedError(f"our operators need opset {LEAST_OPSET}")
    steps = read_steps(first)
    if all(step.scales is None for step in steps):
        raise NotFusedError("neither it nor one that follows is int8 over several channels")
    return steps


def _rewrite(model: ir.Model, steps: list[Step], sparse: list[BalancedConvolution | None]) -> None:
    source = steps[0].conv.inputs[0]
    assert source is not None, "a convolution has an input"
    patch = Patch(steps[0].conv)
    rows: _Rows = (_channels_last(patch, steps[0], before_codes(source)),)
    codes_follow = [*map(_takes_codes, steps[1:], steps), False]
    for step, found, to_uint8 in zip(steps, sparse, codes_follow, strict=True):
        patch = Patch(step.conv)
        if step.scales is None:
            rows = _depthwise(model, patch, step, rows, to_uint8=to_uint8)
        else:
            rows = _quant(model, patch, step, rows, found)
        _give_shapes(step, rows[0])
        rows = _masked(Patch(step.last), step, rows)
    _replace_end(steps[-1], rows[0])


def _takes_codes(step: Step, before: Step) -> bool:
    """Whether a step reads codes of the one before rather than its float32 rows.

    Between depthwise convolutions only where the interchange model has codes, too.
    """
    of_channels = step.group == len(step.weight)
    return step.scales is not None or (of_channels and before.coded and before.scales is None)


def _channels_last(patch: Patch, step: Step, source: ir.Value) -> ir.Value:
    """The first step's input [B, C, T, F] as [B, T, F, C]."""
    if step.group * step.weight.shape[1] > 1:
        return patch.op("Transpose", source, perm=_CHANNELS_LAST)
    # One channel stays where it is in memory. ONNX Runtime does not see that: it merges a
    # Transpose with others of the features and copies number by number.
    return patch.op("Unsqueeze", patch.op("Squeeze", source, patch.ints(1)), patch.ints(3))


def _depthwise(model: ir.Model, patch: Patch, step: Step, rows: _Rows, *, to_uint8: bool) -> _Rows:
    filters = step.weight.astype(np.float32, copy=False)
    inputs = [*rows, patch.constant(filters, "filters"), patch.constant(step.bias, "bias")]
    return _convolved(
        model,
        patch,
        inputs,
        group=step.group,
        strides=step.strides,
        pads=step.pads,
        activation=step.activation,
        to_uint8=to_uint8,
    )


def _encoded(model: ir.Model, patch: Patch, rows: _Rows, channels: int) -> _Rows:
    """Codes of float32 rows: of their convolution with one tap of 1."""
    inputs = [
        rows[0],
        patch.constant(np.ones((channels, 1, 1, 1), np.float32), "ones"),
        patch.constant(np.zeros(channels, np.float32), "zeros"),
    ]
    return _convolved(
        model, patch, inputs, group=channels, strides=(1, 1), pads=(0, 0, 0, 0), to_uint8=True
    )


def _convolved(
    model: ir.Model,
    patch: Patch,
    inputs: _Rows | list[ir.Value],
    *,
    group: int,
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    activation: ConvActivation = "",
    to_uint8: bool,
) -> _Rows:
    opset = model.opset_imports[""]
    define(
        model,
        depthwise_conv2d_function(
            activation, of_uint8=reads_codes(inputs), to_uint8=to_uint8, opset=opset
        ),
    )
    node = depthwise_conv2d_node(
        inputs,
        group=group,
        strides=strides,
        pads=pads,
        activation=activation,
        to_uint8=to_uint8,
        name=f"{patch.name}/DepthwiseConv2d",
    )
    return _inserted(patch, node)


def _quant(
    model: ir.Model, patch: Patch, step: Step, rows: _Rows, sparse: BalancedConvolution | None
) -> _Rows:
    assert step.scales is not None, "the weight is int8"
    if len(rows) == 1:
        rows = _encoded(model, patch, rows, step.weight.shape[1])
    scales = patch.constant(step.scales, "scales")
    bias = patch.constant(step.bias, "bias")
    opset = model.opset_imports[""]
    if sparse is None:
        define(model, quant_conv2d_function(step.activation, opset=opset))
        node = quant_conv2d_node(
            [*rows, patch.constant(step.weight, "codes"), scales, bias],
            strides=step.strides,
            pads=step.pads,
            activation=step.activation,
            name=f"{patch.name}/QuantConv2d",
        )
        return _inserted(patch, node)
    packed, columns = pack_sparse_conv2d(step.weight.astype(np.int8), sparse.pattern)
    weights = patch.constant(packed, "packed"), patch.constant(columns, "columns")
    define(model, sparse_conv2d_function(step.activation, opset=opset))
    node = sparse_conv2d_node(
        [*rows, *weights, scales, bias],
        shape=sparse.shape,
        strides=step.strides,
        pads=step.pads,
        activation=step.activation,
        name=f"{patch.name}/SparseConv2d",
    )
    return _inserted(patch, node)


def _inserted(patch: Patch, node: ir.Node) -> _Rows:
    layer = patch.anchor.metadata_props.get(LAYER_KEY)
    if layer:
        node.metadata_props[LAYER_KEY] = layer
    patch.graph.insert_before(patch.anchor, node)
    return tuple(node.outputs)


def _give_shapes(step: Step, value: ir.Value) -> None:
    """Nodes that ask for the shape [B, C, T, F] get it of a value [B, T, F, C]."""
    for node in shape_readers(step):
        patch = Patch(node)
        asked = slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", 4))
        order = patch.ints(*list(_CHANNELS_FIRST)[asked])
        sizes = patch.op("Gather", patch.op("Shape", value), order, axis=0)
        replace_value(node.outputs[0], sizes)


def _masked(patch: Patch, step: Step, rows: _Rows) -> _Rows:
    """Rows whose masked frames are zero: of codes, their scale is."""
    if step.mask is None:
        return rows
    keep = patch.op("Cast", step.mask, to=int(ir.DataType.FLOAT))
    if len(rows) == 1:
        moved = patch.op("Transpose", keep, perm=_CHANNELS_LAST)
        return (patch.op("Mul", rows[0], moved),)
    codes, scales, zeros = rows
    of_rows = patch.op("Reshape", keep, patch.ints(0, -1))
    return codes, patch.op("Mul", scales, of_rows), zeros


def _replace_end(step: Step, value: ir.Value) -> None:
    """Readers that turn the channels last read the value; others read it turned back."""
    for user in list(step.end.consumers()):
        perm = user.attributes.get_ints("perm", ()) if user.op_type == "Transpose" else ()
        if tuple(perm) == _CHANNELS_LAST:
            replace_value(user.outputs[0], value)
    if step.end.consumers() or step.end.is_graph_output():
        back = Patch(step.last).op("Transpose", value, perm=_CHANNELS_FIRST)
        replace_value(step.end, back)
