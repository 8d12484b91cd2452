"""Experts of a feed-forward module: every frame computes its own alone.

Exporters write a gate as numbers: all hidden units of all frames are computed, and those of other
experts than the one that the gate takes (``ArgMax``) are multiplied by zero. Here the frames of
each expert are gathered, go through its part of both layers, and are put back where they were::

    y = W2 (mask(argmax(g x)) * act(W1 x + b1)) + b2
      = for every expert e:  y[rows of e] = W2_e act(W1_e x[rows of e] + b1_e) + b2

Whether a part of a graph is such a module is found by evaluating it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import LAYER_KEY, InPlacePass, Journal, PassResult
from ...fuse.region import Region
from ...linear import MatMulLayer, matmul_layers, weight_shape
from ...rewrite import Patch, constant, replace_value

#: What changes each number alone, or with a constant: an activation is made of these.
_ELEMENTWISE = frozenset((
    "Add", "Sub", "Mul", "Div", "Min", "Max", "Pow", "Sqrt", "Exp", "Erf", "Tanh", "Sigmoid",
    "HardSigmoid", "Swish", "HardSwish", "Relu", "LeakyRelu", "Elu", "Selu", "Gelu", "Softplus",
))  # fmt: skip
#: What moves or marks a mask between the gate's choice and its product with hidden units.
_LAYOUT = frozenset(("Reshape", "Unsqueeze", "Squeeze", "Cast", "Flatten", "Identity"))
#: Sizes of a trial: batch and frames.
_TRIAL = (2, 5)


@dataclasses.dataclass(frozen=True)
class _Module:
    """A feed-forward module with experts.

    Attributes:
        first, last: Its layers, [d, units] and [units, n].
        hidden: What the gate multiplies, [..., units].
        activation: The nodes between the first layer's product and that, in order.
        choice: The gate's ArgMax, [...].
        experts: How many there are; neighbouring units are one expert's.
    """

    first: MatMulLayer
    last: MatMulLayer
    hidden: ir.Value
    activation: tuple[ir.Node, ...]
    choice: ir.Value
    experts: int


@dataclasses.dataclass(frozen=True)
class RouteExperts(InPlacePass):
    """Computes of every frame the expert that its gate takes, and no other. Exact."""

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        graph = model.graph
        layers = {layer.node: layer for layer in matmul_layers(graph)}
        for last in list(layers.values()):
            choice = _choice(last.input)
            if choice is None:
                continue
            found = _module(graph, layers, last, choice)
            if isinstance(found, str):
                journal.refuse(last.id, f"its experts are all computed: {found}")
                continue
            _route(found)
            journal.change(last.id, f"a frame computes one of {found.experts} experts")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _choice(value: ir.Value) -> ir.Value | None:
    """The ArgMax that decides which units of a layer's input are zero, if one does."""
    gated = _without_layout(value)
    if gated is None or gated.op_type != "Mul":
        return None
    for factor in gated.inputs:
        node = _without_layout(factor)
        if node is not None and node.op_type in ("OneHot", "Equal"):
            choices = [_without_layout(each) for each in node.inputs]
            taken = [each for each in choices if each is not None and each.op_type == "ArgMax"]
            if taken:
                return taken[0].outputs[0]
    return None


def _without_layout(value: ir.Value | None) -> ir.Node | None:
    """The node that computes a value's numbers."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _LAYOUT:
        source = node.inputs[0]
        node = source.producer() if source is not None else None
    return node


def _module(
    graph: ir.Graph, layers: dict[ir.Node, MatMulLayer], last: MatMulLayer, choice: ir.Value
) -> _Module | str:
    """The module whose last layer this is, or why it is none."""
    weight = constant(last.weight)
    scores = choice.producer()
    assert scores is not None, "an ArgMax computes it"
    gate = scores.inputs[0]
    if weight is None:
        return "the weight of the layer behind them is not stored as it is"
    units = weight.shape[0]
    experts = gate.shape[-1] if gate is not None and gate.shape is not None else None
    if not isinstance(experts, int) or units % experts:
        return "it is not known how many they are"
    for hidden in _ancestors(last.input, choice):
        found = _activation(layers, hidden)
        if found is None:
            continue
        first, nodes = found
        stored = constant(first.weight)
        if stored is None or stored.shape[1] != units:
            continue
        module = _Module(first, last, hidden, nodes, choice, experts)
        if not _masks(graph, module, units):
            return "in a trial the gate does something else than to take one"
        return module
    return "in front of the gate is no layer with an activation"


def _ancestors(value: ir.Value, choice: ir.Value) -> Iterator[ir.Value]:
    """The values behind a product's other side, from its operand on."""
    gated = _without_layout(value)
    assert gated is not None, "the choice was found through it"
    for operand in gated.inputs:
        while operand is not None and operand is not choice:
            yield operand
            node = operand.producer()
            operand = node.inputs[0] if node is not None and node.op_type in _LAYOUT else None


def _activation(
    layers: dict[ir.Node, MatMulLayer], hidden: ir.Value
) -> tuple[MatMulLayer, tuple[ir.Node, ...]] | None:
    """The layer that hidden units come from, and the nodes behind its product, in graph order."""
    found: dict[ir.Node, None] = {}
    first: MatMulLayer | None = None
    pending = [hidden]
    while pending:
        value = pending.pop()
        node = value.producer()
        if constant(value) is not None or node in found:
            continue
        if node in layers and (first is None or first is layers[node]):
            first = layers[node]
        elif node is not None and node.op_type in _ELEMENTWISE and not node.domain:
            found[node] = None
            pending.extend(each for each in node.inputs if each is not None)
        else:
            return None
    if first is None or not found:
        return None
    inputs = (each for node in found for each in node.inputs if constant(each) is not None)
    if not all(_is_of_units(each, first) for each in inputs):
        return None
    graph = hidden.graph
    assert graph is not None, "it is computed in one"
    return first, tuple(node for node in graph if node in found)


def _is_of_units(value: ir.Value | None, layer: MatMulLayer) -> bool:
    """Whether a constant has one number for all of a layer's units, or one for each."""
    array, weight = constant(value), constant(layer.weight)
    if array is None or weight is None:
        return False
    return array.size == 1 or (array.size == array.shape[-1] == weight.shape[1])


def _masks(graph: ir.Graph, module: _Module, units: int) -> bool:
    """Whether the last layer reads the hidden units of the expert that is taken, and zeros."""
    random = np.random.default_rng(0)
    leading = _TRIAL[: len(module.choice.shape)] if module.choice.shape is not None else _TRIAL
    hidden = random.standard_normal((*leading, units), np.float32)
    taken = random.integers(0, module.experts, leading)
    expert_of = np.arange(units) // (units // module.experts)
    expected = hidden * (expert_of == taken[..., None])
    region = Region(graph, [module.hidden, module.choice], module.last.input)
    found = region.attempt({module.hidden: hidden, module.choice: taken})
    return found is not None and np.array_equal(found, expected)


def _route(module: _Module) -> None:
    """Writes the routed module in front of the last layer's result.

    A frame of zeros behind the others goes through all experts, as quantised products of no frame
    at all fail in ONNX Runtime (QuantizeLinear in blocks).
    """
    first, last = module.first, module.last
    units, width = weight_shape(last)
    patch = Patch(last.add or last.node)
    index = patch.op("Reshape", module.choice, patch.ints(-1))
    read, _ = weight_shape(first)
    frames = patch.op("Reshape", first.input, patch.ints(-1, read))
    silence = patch.shared(np.zeros((1, read), np.float32), f"silence[{read}]")
    frames = patch.op("Concat", frames, silence, axis=0)
    rows = patch.op("Slice", patch.op("Shape", frames), patch.ints(0), patch.ints(1))
    size = patch.op("Concat", rows, patch.ints(width), axis=0)
    result = patch.op("ConstantOfShape", size)
    also = patch.shared(np.array([True]), "true[1]")
    for expert in range(module.experts):
        part = slice(expert * units // module.experts, (expert + 1) * units // module.experts)
        is_taken = patch.op("Equal", index, patch.shared(np.array(expert), f"expert[{expert}]"))
        is_taken = patch.op("Concat", is_taken, also, axis=0)
        places = patch.op("Transpose", patch.op("NonZero", is_taken), perm=[1, 0])
        gathered = patch.op("GatherND", frames, places)
        hidden = _hidden(module, patch, gathered, part, expert)
        product = patch.op("MatMul", hidden, _part(patch, last.weight, part, axis=0))
        _name(product, last, expert)
        if last.bias is not None:
            product = patch.op("Add", product, last.bias)
        result = patch.op("ScatterND", result, places, product)
    result = patch.op("Slice", result, patch.ints(0), patch.ints(-1), patch.ints(0))
    leading = patch.op("Shape", module.choice)
    shape = patch.op("Concat", leading, patch.ints(width), axis=0)
    replace_value(last.output, patch.op("Reshape", result, shape))


def _hidden(module: _Module, patch: Patch, rows: ir.Value, part: slice, expert: int) -> ir.Value:
    """The hidden units of one expert for some frames."""
    product = patch.op("MatMul", rows, _part(patch, module.first.weight, part, axis=1))
    _name(product, module.first, expert)
    made = {module.first.node.outputs[0]: product}
    for node in module.activation:
        inputs = [
            each if each is None else made.get(each) or _part(patch, each, part)
            for each in node.inputs
        ]
        copy = patch.node(node.op_type, inputs)
        for attribute in node.attributes.values():
            copy.attributes.add(attribute)
        made[node.outputs[0]] = copy.outputs[0]
    return made[module.hidden]


def _name(product: ir.Value, layer: MatMulLayer, expert: int) -> None:
    """Gives an expert's part of a layer an id: ``...expert1.linear1`` of ``...linear1``."""
    node = product.producer()
    assert node is not None, "it was just written"
    module, dot, name = layer.id.rpartition(".")
    node.metadata_props[LAYER_KEY] = f"{module}{dot}expert{expert + 1}.{name}"


def _part(patch: Patch, value: ir.Value, part: slice, axis: int = -1) -> ir.Value:
    """A constant of units for some of them; others stay as they are."""
    array = constant(value)
    assert array is not None, "what is not computed is constant"
    if array.size == 1:
        return value
    cut = array[part] if axis == 0 else array[..., part]
    return patch.constant(np.ascontiguousarray(cut), "expert")
