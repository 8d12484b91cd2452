"""Writes masks into recognised models, as training leaves them, and counts what can then go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from confpress.passes.rewrite import Patch, add_initializer
from confpress.passes.structure import Linear, Module, recognise

Indices = Sequence[int]
Edit = Callable[[npt.NDArray[np.float32]], None]


def parameters(model: ir.Model) -> int:
    """Stored floating-point numbers."""
    tensors = (v.const_value for v in model.graph.initializers.values())
    return sum(t.size for t in tensors if t is not None and t.dtype.is_floating_point())


def edit(graph: ir.Graph, node: ir.Node, value: ir.Value, change: Edit) -> None:
    """Gives a node a changed copy of a constant that it reads."""
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    change(array)
    copy = add_initializer(graph, f"{value.name}.masked", array)
    for reader, index in list(value.uses()):
        if reader is node:
            reader.replace_input_with(index, copy)


def zero_outputs(graph: ir.Graph, linear: Linear, which: Indices, *, bias: bool = True) -> None:
    """Zeroes output features of a layer, with their bias unless that is kept."""

    def change(array: npt.NDArray[np.float32]) -> None:
        np.moveaxis(array, linear.out_axis, 0)[list(which)] = 0

    edit(graph, linear.node, linear.weight, change)
    if bias and linear.bias is not None:
        for node in linear.nodes:
            edit(graph, node, linear.bias, lambda array: array.__setitem__(list(which), 0))


def zero_inputs(graph: ir.Graph, linear: Linear, which: Indices) -> None:
    """Zeroes what a layer does with some of its inputs."""
    in_axis = {0: 1, 1: 0}[linear.out_axis]

    def change(array: npt.NDArray[np.float32]) -> None:
        np.moveaxis(array, in_axis, 0)[list(which)] = 0

    edit(graph, linear.node, linear.weight, change)


def mask_before(graph: ir.Graph, linear: Linear, which: Indices) -> None:
    """Multiplies the input of a layer by zeros and ones."""
    mask = np.ones(linear.in_features, np.float32)
    mask[list(which)] = 0
    patch = Patch(linear.node)
    index = next(i for i, each in enumerate(linear.node.inputs) if each is linear.input)
    shaped = mask[:, None] if linear.channels_first else mask
    linear.node.replace_input_with(
        index, patch.op("Mul", linear.input, patch.constant(shaped, "mask"))
    )


def gate(module: Module, number: float = 0.0) -> None:
    """Multiplies the branch of a module by a constant, as an exported L0 mask does."""
    add = module.residual_add
    assert add is not None
    index = next(i for i, each in enumerate(add.inputs) if each is not module.input)
    patch = Patch(add)
    factor = patch.constant(np.array(number, np.float32), "gate")
    add.replace_input_with(index, patch.op("Mul", factor, add.inputs[index]))


def head_features(module: Module, heads: Indices) -> list[int]:
    """The features of heads in the input of the output projection."""
    width = module.attention.head_size
    return [head * width + i for head in heads for i in range(width)]


def zero_channels(graph: ir.Graph, module: Module, which: Indices, *, bias: bool = True) -> None:
    """Zeroes depthwise filters, with their bias unless that is kept."""
    depthwise = module.convolution.depthwise
    edit(graph, depthwise.node, depthwise.weight, lambda a: a.__setitem__(list(which), 0))
    if bias and depthwise.bias is not None:
        edit(graph, depthwise.node, depthwise.bias, lambda a: a.__setitem__(list(which), 0))


Variant = Callable[[ir.Model], int]


def _first(model: ir.Model, name: str, layer: int = 0) -> Module:
    structure = recognise(model)
    return next(m for m in structure.layers[layer] if m.id.endswith(name))


def _unit(module: Module) -> int:
    """2d + 1, or 3d + 1 and the like where units are gated."""
    first = module.linears[:-1]
    return (
        sum(each.in_features + (each.bias is not None) for each in first)
        + module.linears[-1].out_features
    )


def _new_bias(linear: Linear) -> int:
    """What a layer without a bias gets, to hold what constants added to its outputs."""
    return linear.out_features if linear.bias is None else 0


def _channel(module: Module) -> int:
    details = module.convolution
    first, last = details.pointwise[0], details.pointwise[-1]
    rows = first.out_features // details.channels
    norm = details.norm
    stored = 0
    if norm is not None and norm.type == "batch":
        stored = sum(v is not None and v.const_value is not None for v in norm.nodes[0].inputs)
    return (
        rows * (first.in_features + (first.bias is not None))
        + details.kernel + (details.depthwise.bias is not None) + stored
        + last.out_features
    )  # fmt: skip


def _head(module: Module) -> int:
    """Rows of q, k, v and linear_pos with their biases, columns of the output, position biases."""
    a = module.attention
    layers = {id(each): each for each in (a.query, a.key, a.value) if each}.values()
    wide = sum(each.out_features for each in layers) // a.heads
    per_feature = a.query.in_features + (a.query.bias is not None)
    total = wide * per_feature + a.head_size * a.out.out_features
    if a.position_layer is not None:
        total += a.head_size * a.position_layer.in_features + 2 * a.head_size
    return total


def gates(model: ir.Model) -> int:
    """Whole modules behind gates of zero: attention in block 0, convolution in block 1."""
    total = 0
    for layer, name in ((0, "self_attn"), (1, "conv"), (1, "feed_forward2")):
        module = _first(model, name, layer)
        before = _stored(module)
        gate(module)
        total += before
    return total


def _stored(module: Module) -> int:
    constants = {
        value: value.const_value.size
        for node in module.nodes
        for value in node.inputs
        if value is not None
        and value.const_value is not None
        and value.const_value.dtype.is_floating_point()
        and value.const_value.size > 1
        and {each for each, _ in value.uses()} <= set(module.nodes)
    }
    return int(sum(constants.values()))


def units_masked_after_activation(model: ir.Model) -> int:
    module = _first(model, "feed_forward1")
    which = range(0, 40, 3)
    mask_before(model.graph, module.linears[-1], which)
    return len(which) * _unit(module)


def units_zero_on_both_sides(model: ir.Model) -> int:
    module = _first(model, "feed_forward2")
    which = range(5, 30)
    zero_outputs(model.graph, module.linears[0], which)
    zero_inputs(model.graph, module.linears[-1], which)
    return len(which) * _unit(module)


def units_zero_in_the_second_layer(model: ir.Model) -> int:
    module = _first(model, "feed_forward1", 1)
    which = [1, 2, 3, 50]
    zero_inputs(model.graph, module.linears[-1], which)
    return len(which) * _unit(module)


def units_with_a_bias_left(model: ir.Model) -> int:
    module = _first(model, "feed_forward1")
    which = [0, 7, 9, 63]
    zero_outputs(model.graph, module.linears[0], which, bias=False)
    return len(which) * _unit(module) - _new_bias(module.linears[-1])


def some_heads(model: ir.Model) -> int:
    module = _first(model, "self_attn")
    features = head_features(module, [1, 3])
    zero_inputs(model.graph, module.attention.out, features)
    return 2 * _head(module)


def heads_masked_before_the_projection(model: ir.Model) -> int:
    module = _first(model, "self_attn", 1)
    mask_before(model.graph, module.attention.out, head_features(module, [0]))
    return _head(module)


def values_of_heads(model: ir.Model) -> int:
    """Only v is zero: q and k stay in the file until removal."""
    module = _first(model, "self_attn", 1)
    a = module.attention
    features = np.array(head_features(module, [2]))
    if a.value is a.query:
        features = features + 2 * a.heads * a.head_size
    zero_outputs(model.graph, a.value, features.tolist())
    return _head(module)


def all_heads(model: ir.Model) -> int:
    module = _first(model, "self_attn")
    a = module.attention
    zero_inputs(model.graph, a.out, head_features(module, range(a.heads)))
    bias = a.out.bias.const_value.size if a.out.bias is not None and a.out.bias.const_value else 0
    return _stored(module) - bias


def channels(model: ir.Model) -> int:
    module = _first(model, "conv")
    which = [0, 5, 6, 40]
    zero_channels(model.graph, module, which)
    norm = module.convolution.norm
    if norm is not None:
        zero_inputs(model.graph, module.convolution.pointwise[-1], which)
    return len(which) * _channel(module)


def channels_with_constants(model: ir.Model) -> int:
    module = _first(model, "conv", 1)
    which = [3, 8, 31]
    zero_channels(model.graph, module, which, bias=False)
    return len(which) * _channel(module) - _new_bias(module.convolution.pointwise[-1])


VARIANTS: tuple[Variant, ...] = (
    gates, units_masked_after_activation, units_zero_on_both_sides, units_zero_in_the_second_layer,
    units_with_a_bias_left, some_heads, heads_masked_before_the_projection, values_of_heads,
    all_heads, channels, channels_with_constants,
)  # fmt: skip
