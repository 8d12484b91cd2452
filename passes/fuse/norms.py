"""The end of a residual branch with the norms behind it, in one operator.

Every module of a Conformer ends with ``stream + scale · branch``; a norm of the sum begins the next
one, and a norm of a norm where a block ends. Each alone reads and writes all frames; AddNorm does
all of it while a frame is in the nearest memory.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult
from ..linear import only_user
from ..operators.addnorm import LEAST_OPSET, add_norm_function, add_norm_node
from ..operators.functions import define
from ..rewrite import Patch, constant, replace_value, scalar
from ..structure import recognise


@dataclasses.dataclass(frozen=True)
class FuseAddNorm(InPlacePass):
    """Residual sums of recognised modules get ``confpress.v1.AddNorm`` with the norm behind them.

    1. Add, LayerNormalization: the sum and its norm.
    2. Add, LayerNormalization, LayerNormalization, where nothing else reads the sum: both norms.
    A constant factor of the branch is taken in. Lossless up to float arithmetic.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        opset = model.opset_imports.get("", 1)
        if opset < LEAST_OPSET:
            journal.refuse(
                "model", f"LayerNormalization is an operator from opset {LEAST_OPSET} on"
            )
            return journal.result(model)
        # Which operand is the stream is asked for all first: sums are replaced on the way.
        sums = [
            (module.id, module.residual_add, module.residual_add.inputs.index(module.input))
            for module in recognise(model).modules
            if module.residual_add is not None and module.input in module.residual_add.inputs
        ]
        for where, add, stream in sums:
            norm = _norm_of(add.outputs[0])
            if isinstance(norm, str):
                journal.refuse(where, f"its residual sum stays alone: {norm}")
                continue
            second = _norm_of(norm.outputs[0]) if only_user(add.outputs[0]) is norm else None
            norms = [norm, second] if isinstance(second, ir.Node) else [norm]
            _fuse(model, where, add, stream, norms)
            what = "norm" if len(norms) == 1 else "two norms"
            journal.change(where, f"residual sum and {what} in one operator")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _norm_of(value: ir.Value) -> ir.Node | str:
    """The one LayerNormalization over features that reads a value, or why there is none."""
    norms = [n for n in value.consumers() if n.op_type == "LayerNormalization" and not n.domain]
    if len(norms) != 1:
        return "no LayerNormalization reads it" if not norms else "several norms read it"
    norm = norms[0]
    weight = constant(norm.inputs[1]) if norm.inputs[0] is value else None
    bias = _bias(norm)
    if weight is None or (bias is not None and constant(bias) is None):
        return "its norm's weight or bias is not constant"
    if weight.dtype != np.float32:
        return f"its norm is in {weight.dtype}, and the operator in float32"
    if weight.ndim != 1 or norm.attributes.get_int("axis", -1) not in (-1, 2):
        return "its norm is over more than the last axis"
    if any(output.uses() for output in norm.outputs[1:]):
        return "the mean or deviation of its norm is read"
    return norm


def _bias(norm: ir.Node) -> ir.Value | None:
    return norm.inputs[2] if len(norm.inputs) > 2 else None


def _fuse(model: ir.Model, where: str, add: ir.Node, place: int, norms: list[ir.Node]) -> None:
    stream, branch = add.inputs[place], add.inputs[1 - place]
    assert stream is not None and branch is not None
    branch, scale = _unscaled(branch)
    function = add_norm_function(len(norms), model.opset_imports[""])
    define(model, function)
    parameters = [v for norm in norms for v in _parameters(norm)]
    node = add_norm_node(
        [stream, branch, *parameters],
        scale=scale,
        epsilons=[norm.attributes.get_float("epsilon", 1e-5) for norm in norms],
        name=f"{where}/{function.name}",
    )
    if LAYER_KEY in add.metadata_props:
        node.metadata_props[LAYER_KEY] = add.metadata_props[LAYER_KEY]
    model.graph.insert_before(add, node)
    replaced = [add, norms[0]] if len(norms) == 1 else norms
    for old, new in zip(replaced, node.outputs, strict=True):
        replace_value(old.outputs[0], new)


def _parameters(norm: ir.Node) -> tuple[ir.Value, ir.Value]:
    """Weight and bias, zeros where there is none."""
    weight, bias = norm.inputs[1], _bias(norm)
    stored = constant(weight)
    assert weight is not None and stored is not None, "a norm that is fused has a constant weight"
    return weight, bias or Patch(norm).constant(np.zeros_like(stored), "no_bias")


def _unscaled(branch: ir.Value) -> tuple[ir.Value, float]:
    """A branch without the constant factor that it ends with, and the factor."""
    node = branch.producer()
    if node is not None and node.op_type == "Mul" and not node.domain:
        for value, factor in (node.inputs, reversed(node.inputs)):
            number = scalar(factor)
            if number is not None and value is not None and scalar(value) is None:
                return value, number
    return branch, 1.0
