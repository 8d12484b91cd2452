"""Einsum of two operands written as Transpose and MatMul.

ONNX Runtime's Einsum lays its operands out anew and multiplies in a loop of its own; the distances
of Shaw et al. (2018), ``bhld,lrd->bhlr``, take half of a model's time that way. Every label of such
an equation is one of four: in both operands and the result (a batch axis of the product), in both
and not in the result (summed over), on the left only, or on the right only. With one label summed
over and one on the right only, MatMul says the same: other labels of the left become batch axes
that the right is broadcast over, so that no axes need to be joined.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import Patch, replace_value


@dataclasses.dataclass(frozen=True)
class EinsumToMatMul(InPlacePass):
    """Rewrites ``Einsum(x, y)`` as ``Transpose(MatMul(Transpose(x), Transpose(y)))``.

    Lossless up to the order of summation.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            if node.op_type != "Einsum" or node.domain:
                continue
            equation = node.attributes.get_string("equation", "")
            product = _read(node)
            if product is None:
                journal.refuse(layer_of(node), f"the Einsum '{equation}' is no product of matrices")
                continue
            replace_value(node.outputs[0], _written(node, product))
            journal.change(layer_of(node), f"Einsum '{equation}' written as MatMul")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _Product:
    """Orders of axes; each is a permutation as Transpose takes it.

    Attributes:
        swapped: Whether the second operand stands on the left.
        left: [outer, batch, rows, summed] of the left operand's axes.
        right: [batch, summed, columns] of the right one's.
        result: Of the product's axes [outer, batch, rows, columns].
    """

    swapped: bool
    left: tuple[int, ...]
    right: tuple[int, ...]
    result: tuple[int, ...]


def einsum_labels(node: ir.Node) -> tuple[list[str], str] | None:
    """Labels of every input and of the output; None with an ellipsis or a diagonal."""
    equation = node.attributes.get_string("equation", "").replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or any(len(set(t)) < len(t) for t in (*terms, out)):
        return None
    return terms, out


def _read(node: ir.Node) -> _Product | None:
    parsed = einsum_labels(node)
    if parsed is None or len(parsed[0]) != 2:
        return None
    (first, second), result = parsed
    return _oriented(first, second, result, swapped=False) or _oriented(
        second, first, result, swapped=True
    )


def _oriented(left: str, right: str, result: str, *, swapped: bool) -> _Product | None:
    batch = [label for label in result if label in left and label in right]
    summed = [label for label in left if label in right and label not in result]
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]
    if len(summed) != 1 or len(columns) != 1 or not rows:
        return None
    if set(rows + columns) - set(result):
        return None  # summed over in one operand alone
    outer, (row,) = rows[:-1], rows[-1:]
    product = [*outer, *batch, row, *columns]
    return _Product(
        swapped,
        left=tuple(left.index(label) for label in (*outer, *batch, row, *summed)),
        right=tuple(right.index(label) for label in (*batch, *summed, *columns)),
        result=tuple(product.index(label) for label in result),
    )


def _written(node: ir.Node, product: _Product) -> ir.Value:
    patch = Patch(node)
    left, right = reversed(node.inputs) if product.swapped else node.inputs
    made = patch.op(
        "MatMul", _turned(patch, left, product.left), _turned(patch, right, product.right)
    )
    return _turned(patch, made, product.result)


def _turned(patch: Patch, value: ir.Value | None, perm: tuple[int, ...]) -> ir.Value:
    assert value is not None, "an Einsum's operands are given"
    if perm == tuple(range(len(perm))):
        return value
    turned = patch.op("Transpose", value, perm=perm)
    turned.type = value.type
    if value.shape is not None:
        turned.shape = ir.Shape([value.shape[axis] for axis in perm])
    return turned
