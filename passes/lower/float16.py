"""Float16 for what is float32: operator by operator, with casts where the two meet.

ONNX Runtime's own converter (``onnxruntime.transformers.float16``) also rounds what passes between
operators that stay float32, and their weights; so it cannot keep a layer exact.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult, layer_of
from ..rewrite import Patch, constant, producer

#: Operators that the CUDA provider has in float16 and that keep their precision there: products
#: and normalisations sum in float32 inside their kernels.
_COMPUTING: Final = frozenset(
    (
        *("Abs", "Add", "AveragePool", "BatchNormalization", "BiasGelu", "Clip", "Conv", "Div"),
        *("Einsum", "Erf", "FastGelu", "FusedMatMul", "Gelu", "Gemm", "GlobalAveragePool"),
        *("HardSigmoid", "HardSwish", "InstanceNormalization", "LayerNormalization", "LeakyRelu"),
        *("MatMul", "MatMulNBits", "MaxPool", "Mul", "Neg", "QuickGelu", "Relu", "Sigmoid"),
        *("SkipLayerNormalization", "Softmax", "Sub", "Tanh"),
    )
)
#: Operators that move numbers: they take the type that comes.
_MOVING: Final = frozenset(
    (
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
        *("Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose"),
        *("Unsqueeze", "Where"),
    )
)
#: Operators of numbers that count something, besides those that move them.
_COUNTING: Final = frozenset(
    (
        *("Abs", "Add", "Ceil", "Clip", "Div", "Floor", "Log", "MatMul", "Max", "Min", "Mul"),
        *("Neg", "Range", "Round", "Sub"),
    )
)
_LARGEST: Final = float(np.finfo(np.float16).max)
#: Smaller numbers become it or zero.
_LEAST: Final = float(np.finfo(np.float16).smallest_subnormal)
_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


@dataclasses.dataclass(frozen=True)
class Float16(InPlacePass):
    """Weights and activations in float16; inputs and outputs of the model keep their types.

    Other operators stay float32: logarithms, powers, sums and means of features, lengths and
    positions (float16 counts to 2048), what a subgraph reads, and those with a constant beyond
    float16's largest number or with one number below its least. One number of a Where, such as the
    minus infinity of a mask, becomes the largest one instead.

    Attributes:
        keep: Layers that stay float32, such as those whose error was too large; a block's id names
            all of its layers.
    """

    keep: tuple[str, ...] = ()

    def call(self, model: ir.Model) -> PassResult:
        if any(value.dtype is None for node in model.graph for value in node.outputs):
            common.ShapeInferencePass()(model)
        journal = Journal()
        rewriter = _Rewriter(model.graph, journal)
        changed = 0
        for node in list(model.graph):
            counts = rewriter.counts(node)
            if not counts and not self._kept(node) and rewriter.can_narrow(node):
                rewriter.narrow(node)
                changed += 1
            else:
                rewriter.widen_inputs(node)
        rewriter.widen_outputs()
        common.RemoveUnusedNodesPass()(model)
        if changed:
            journal.change(None, f"{changed} operators in float16")
        return journal.result(model)

    def _kept(self, node: ir.Node) -> bool:
        layer = layer_of(node)
        return any(layer == name or layer.startswith(f"{name}.") for name in self.keep)


class _Rewriter:
    """Rewrites nodes in their order; holds the other type's version of every value."""

    def __init__(self, graph: ir.Graph, journal: Journal) -> None:
        self.graph = graph
        self.journal = journal
        self.halves: dict[ir.Value, ir.Value] = {}
        self.floats: dict[ir.Value, ir.Value] = {}
        self._counts: set[ir.Value] = set()

    def counts(self, node: ir.Node) -> bool:
        """Whether a node computes with lengths or positions alone: integers that became floats."""
        given = [v for v in node.inputs if v is not None and constant(v) is None]
        if node.op_type == "Cast":
            counts = any(v.dtype is not None and v.dtype.is_integer() for v in given)
        else:
            floats = [v for v in given if v.dtype in (_FLOAT, _HALF)]
            known = node.op_type in _COUNTING or node.op_type in _MOVING
            counts = known and bool(floats) and self._counts.issuperset(floats)
        if counts:
            self._counts.update(node.outputs)
        return counts

    def can_narrow(self, node: ir.Node) -> bool:
        floats = [v for v in node.inputs if v is not None and v.dtype in (_FLOAT, _HALF)]
        outputs = [v for v in node.outputs if v.name]
        if not floats or any(v.dtype not in (_FLOAT, _HALF) for v in outputs):
            return False
        if node.op_type in _MOVING:
            known = any(v.dtype is _HALF for v in floats)
            if not known and any(_half_of(v) is None for v in floats):
                return False
        elif node.op_type not in _COMPUTING:
            return False
        # The mean and the deviation that a norm may give too are float32 whatever it reads.
        if node.op_type == "LayerNormalization" and len(outputs) > 1:
            return False
        if any(user.graph is not self.graph for v in outputs for user in v.consumers()):
            return False
        if all(self._fits(node, value) for value in floats):
            return True
        reason = "a constant is beyond float16's largest number, or vanishes in it"
        self.journal.refuse(layer_of(node), reason)
        return False

    def narrow(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype is _FLOAT:
                node.replace_input_with(index, self._half(node, value))
        for value in node.outputs:
            if value.dtype is _FLOAT:
                # A new type: a clone of the model shares the old one.
                value.type = ir.TensorType(_HALF)

    def widen_inputs(self, node: ir.Node) -> None:
        """Before a node that stays as it is; what it reads that was made float16 is cast back."""
        if node.op_type == "Cast":
            return
        for index, value in enumerate(node.inputs):
            if value is not None and self._narrowed(value):
                node.replace_input_with(index, self._float(node, value))

    def widen_outputs(self) -> None:
        for index, value in enumerate(list(self.graph.outputs)):
            producer = value.producer()
            if not self._narrowed(value) or producer is None:
                continue
            name = str(value.name)
            value.name = f"{name}.half"
            wide = self.floats.get(value)
            if wide is None:
                wide = _cast(Patch(producer, f"{name}.float", behind=True), value, _FLOAT)
            wide.name = name
            self.graph.outputs[index] = wide

    def _narrowed(self, value: ir.Value) -> bool:
        producer = value.producer()
        # What was float16 before, an operator that states it or a cast, is not ours.
        return value.dtype is _HALF and producer is not None and _computes(producer)

    def _half(self, node: ir.Node, value: ir.Value) -> ir.Value:
        source = _half_of(value)
        if source is not None:
            return source
        if value not in self.halves:
            array = constant(value)
            patch = Patch(node, f"{value.name}.half")
            self.halves[value] = (
                _cast(patch, value, _HALF)
                if array is None
                else patch.constant(_rounded(array), "float16")
            )
        return self.halves[value]

    def _float(self, node: ir.Node, value: ir.Value) -> ir.Value:
        if value not in self.floats:
            self.floats[value] = _cast(Patch(node, f"{value.name}.float"), value, _FLOAT)
        return self.floats[value]

    @staticmethod
    def _fits(node: ir.Node, value: ir.Value) -> bool:
        array = constant(value)
        if array is None or not array.size or (node.op_type == "Where" and array.size == 1):
            return True
        finite = np.abs(array[np.isfinite(array)])
        # What keeps a logarithm or a quotient finite may not become zero.
        vanishes = array.size == 1 and bool(((finite > 0) & (finite < _LEAST)).any())
        return not vanishes and not bool((finite > _LARGEST).any())


def _half_of(value: ir.Value) -> ir.Value | None:
    """The float16 value that this is cast from; None where it is not."""
    cast = producer(value, "Cast")
    source = None if cast is None else cast.inputs[0]
    return source if source is not None and source.dtype is _HALF else None


def _computes(node: ir.Node) -> bool:
    return node.op_type in _COMPUTING or node.op_type in _MOVING


def _rounded(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    return np.asarray(np.clip(array, -_LARGEST, _LARGEST), np.float16)


def _cast(patch: Patch, value: ir.Value, to: ir.DataType) -> ir.Value:
    result = patch.op("Cast", value, to=int(to))
    result.type, result.shape = ir.TensorType(to), value.shape
    return result
