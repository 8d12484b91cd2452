"""Simplify: what exporters leave behind and later passes must not have to look through.

Library passes where they exist: this file only orders them and says what they did.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.optimizer import fold_constants_ir

from ..base import InPlacePass, Journal, PassResult
from ..linear import projects_table
from ..rewrite import constant
from .convolution.explicit_padding import ExplicitPadding
from .convolution.pad import PadIntoConv
from .identities import RemoveIdentities
from .sizes.expand_sizes import ExpandSizes
from .sizes.known_bounds import KnownBounds
from .sizes.shapes import infer_shapes
from .versions import WORKING_OPSET, quiet, raise_opset

#: Constants computed from weights (a transposed or scaled matrix) are folded up to this many
#: bytes; larger results would be larger files.
FOLD_LIMIT_BYTES = 256 * 2**20
#: Folding and sharing make room for each other; exports settle in two or three rounds.
_MOST_ROUNDS = 10
#: Elements of what ConstantOfShape makes that are stored without a thought.
_SMALL = 1024


@dataclasses.dataclass(frozen=True)
class Simplify(InPlacePass):
    """Removes what is constant, unused, equal or idle.

    0. The opset is raised to the one that all passes write.
    1. Calls to model-local functions of the exporter are inlined (functions of ours are kept).
    2. Constant nodes become initializers; constant expressions are folded.
    3. Identity nodes, unused nodes and unused initializers go; a Pad before a Conv joins it.
    4. Equal initializers are stored once. Passes that change a shared one copy it first.
    5. Shapes are inferred, which ONNX Runtime needs for its own fusions; sizes that this makes
       known are folded in turn.

    Lossless: outputs are equal up to float rounding of folded expressions.
    """

    fold_limit_bytes: int = FOLD_LIMIT_BYTES

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        before = _census(model)
        for step in (
            common.InlinePass(criteria=lambda function: not _is_ours(function.domain)),
            common.RemoveInitializersFromInputsPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        ):
            step(model)
        if raise_opset(model, WORKING_OPSET):
            journal.change("opset", f"raised to {WORKING_OPSET}")
        inferred = False
        for _ in range(_MOST_ROUNDS):
            if self._round(model):
                inferred = False
            elif inferred:
                break
            else:
                _infer_shapes(model)
                inferred = True
        if not inferred:
            _infer_shapes(model)
        for name, count in _census(model).items():
            if count != before[name]:
                journal.change(name, f"{before[name]:,} to {count:,}")
        return journal.result(model)

    def _round(self, model: ir.Model) -> bool:
        """Folds and removes once; whether anything changed."""
        modified = bool(_fold(model, self.fold_limit_bytes).modified)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        _lay_out_folded(model)
        for step in (
            RemoveIdentities(),
            ExplicitPadding(),
            ExpandSizes(),
            PadIntoConv(),
            KnownBounds(),
            common.DeduplicateHashedInitializersPass(),
            common.CommonSubexpressionEliminationPass(),
            common.RemoveUnusedNodesPass(),
        ):
            modified |= step(model).modified
        return modified


def _infer_shapes(model: ir.Model) -> None:
    common.NameFixPass()(model)
    infer_shapes(model)


def _fold(model: ir.Model, limit_bytes: int) -> ir.passes.PassResult:
    """onnxscript's constant folding, which logs every node it cannot evaluate."""
    with quiet("onnxscript.optimizer._constant_folding"):
        return fold_constants_ir(
            model,
            onnx_shape_inference=True,
            input_size_limit=limit_bytes,
            output_size_limit=limit_bytes,
            should_fold=_may_fold,
        )


def _lay_out_folded(model: ir.Model) -> None:
    """Folded transposes are views in another order; later passes want rows in memory order."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.Tensor) and not tensor.numpy().flags.c_contiguous:
            value.const_value = ir.tensor(np.ascontiguousarray(tensor.numpy()), name=value.name)


def _may_fold(node: ir.Node) -> bool | None:
    """What the folding's own rules do not know; None leaves it to them.

    Dequantisation of a constant stays, in one node or begun by a Cast: it is the format of the
    weight, not an expression. A small ConstantOfShape is folded, which they leave for fear of a
    large one: paddings are made of them. The projection of a table stays a layer.
    """
    if node.op_type in ("QuantizeLinear", "DequantizeLinear") or _is_ours(node.domain):
        return False
    if node.op_type == "MatMul":
        table, weight = map(constant, node.inputs)
        if table is not None and weight is not None and projects_table(table.shape, weight.shape):
            return False
    if node.op_type == "Cast":
        codes = constant(node.inputs[0])
        stored = codes is not None and codes.dtype in (np.int8, np.uint8)
        return False if codes is not None and stored and codes.size > _SMALL else None
    if node.op_type == "ConstantOfShape":
        shape = constant(node.inputs[0])
        return True if shape is not None and np.prod(shape) <= _SMALL else None
    return None


def _is_ours(domain: str) -> bool:
    return domain.startswith("confpress.")


def _census(model: ir.Model) -> dict[str, int]:
    initializers = model.graph.initializers.values()
    return {
        "nodes": sum(1 for _ in ir.traversal.RecursiveGraphIterator(model.graph)),
        "initializers": len(initializers),
        "initializer bytes": sum(v.const_value.nbytes for v in initializers if v.const_value),
    }
