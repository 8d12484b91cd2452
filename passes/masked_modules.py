"""Whole modules that a mask has switched off: a branch that is zero leaves its residual stream.

Pruning in training multiplies modules by gates (Jiang et al. 2023, L0 masks); an exported gate of
zero still computes its module. What is proven here is that a branch is zero whatever goes in.
0 · x = 0 assumes finite activations, as every such mask does.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import InPlacePass, Journal, PassResult
from .rewrite import constant, replace_value
from .structure import Module, recognise

#: Operators that give zero if their first input is zero.
_KEEP_ZERO = frozenset(
    (
        *("Abs", "Cast", "Div", "Erf", "Expand", "Flatten", "Gather", "Gelu", "Identity"),
        *("LeakyRelu", "Neg", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Slice"),
        *("Split", "Sqrt", "Squeeze", "Swish", "Tanh", "Tile", "Transpose", "Unsqueeze"),
    )
)
#: Operators that are linear in each of their first two inputs; the third is a bias.
_PRODUCTS = frozenset(("Conv", "Gemm", "MatMul"))


@dataclasses.dataclass(frozen=True)
class RemoveMaskedModules(InPlacePass):
    """Removes feed-forward, attention and convolution modules whose branch is provably zero.

    1. The residual Add gives way to the stream.
    2. Whatever only the branch used (norm, weights, masks) is removed with it.

    Exact for finite activations. Modules with a streaming cache are refused: their cache outputs
    would remain to be computed.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        zero = ZeroAnalysis()
        for module in recognise(model).modules:
            branch = _branch(module)
            if branch is None or not zero(branch):
                continue
            if module.caches:
                journal.refuse(
                    module.id, "its branch is zero, but the model hands on a cache computed in it"
                )
                continue
            if module.stream_scale != 1 or module.input is None:
                journal.refuse(module.id, "its branch is zero, but the stream beside it is scaled")
                continue
            replace_value(module.output, module.input)
            parameters = sum(_size(node) for node in module.nodes)
            journal.change(module.id, f"masked by zero: removed with {parameters:,} parameters")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


class ZeroAnalysis:
    """Which values are zero for every finite input; each value is looked at once."""

    def __init__(self) -> None:
        self._known: dict[ir.Value, bool] = {}

    def __call__(self, value: ir.Value | None) -> bool:
        """Whether a value is zero in every element."""
        if value is None:
            return False
        if value not in self._known:
            self._known[value] = self._is_zero(value)
        return self._known[value]

    def _is_zero(self, value: ir.Value) -> bool:
        array = constant(value)
        if array is not None:
            return array.size > 0 and not np.any(array)
        node = value.producer()
        if node is None or node.domain:
            return False
        inputs = node.inputs
        if node.op_type == "Mul":
            return self(inputs[0]) or self(inputs[1])
        if node.op_type in ("Add", "Sub", "Concat", "Max", "Min", "Sum"):
            return all(self(each) for each in inputs)
        if node.op_type == "Where":
            return self(inputs[1]) and self(inputs[2])
        if node.op_type == "Pad":
            fill = inputs[2] if len(inputs) > 2 else None
            return self(inputs[0]) and (fill is None or self(fill))
        if node.op_type in _PRODUCTS:
            bias = inputs[2] if len(inputs) > 2 else None
            return (self(inputs[0]) or self(inputs[1])) and (bias is None or self(bias))
        return node.op_type in _KEEP_ZERO and bool(inputs) and self(inputs[0])


def _branch(module: Module) -> ir.Value | None:
    """What a module adds to the residual stream."""
    if module.residual_add is None:
        return None
    others = [each for each in module.residual_add.inputs if each is not module.input]
    return others[0] if len(others) == 1 else None


def _size(node: ir.Node) -> int:
    """Stored numbers that a node reads directly."""
    return sum(
        each.const_value.size
        for each in node.inputs
        if each is not None and each.is_initializer() and each.const_value is not None
    )
