"""Masks behind a Softmax moved to its much smaller product with the values.

Attention masks scores with a large negative number before the Softmax, and many exports mask the
probabilities with zero once more behind it. For a row that keeps at least one score, the second
mask changes nothing: exp underflows to zero. Rows of padding, all of whose scores are masked, come
out uniform, and there the second mask makes the product zero. Masking those rows of the product
[batch, heads, T, head size] says the same as masking T × T probabilities.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import InPlacePass, Journal, PassResult, layer_of
from .linear import only_user
from .rewrite import Patch, scalar

#: exp(-10,000 - max) is zero in float32 for every max above -9,800: any sane score.
_LARGEST_FILL = -1e4


@dataclasses.dataclass(frozen=True)
class SoftmaxMask(InPlacePass):
    """Rewrites ``MatMul(Where(m, 0, Softmax(Where(m, fill, s))), v)``.

    Becomes ``Where(all(m), 0, MatMul(Softmax(Where(m, fill, s)), v))`` for fill <= -10,000. It
    assumes unmasked scores above -9,800.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        rows: dict[ir.Value, ir.Value] = {}
        for node in list(model.graph):
            product = _product(node)
            if product is None:
                continue
            mask, probabilities = node.inputs[0], node.inputs[2]
            assert mask is not None and probabilities is not None
            if mask not in rows:
                rows[mask] = _fully_masked(Patch(node), mask)
            product.replace_input_with(0, probabilities)
            after = ir.node("Where", [rows[mask], node.inputs[1], product.outputs[0]])
            after.name = f"{node.name}/rows"
            after.metadata_props.update(node.metadata_props)
            result, users = product.outputs[0], list(product.outputs[0].uses())
            after.outputs[0].name = f"{result.name}.masked"
            after.outputs[0].type, after.outputs[0].shape = result.type, result.shape
            node.graph.insert_after(product, after)  # type: ignore[union-attr]
            for user, index in users:
                if user is not after:
                    user.replace_input_with(index, after.outputs[0])
            journal.change(layer_of(node), "mask behind the Softmax moved to its product")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def _product(where: ir.Node) -> ir.Node | None:
    """The MatMul that reads the second mask of the idiom, or None."""
    if where.op_type != "Where" or where.domain or scalar(where.inputs[1]) != 0:
        return None
    softmax = _producer(where.inputs[2], "Softmax")
    if softmax is None or softmax.attributes.get_int("axis", -1) not in (-1, 3):
        return None
    first = _producer(softmax.inputs[0], "Where")
    if first is None or first.inputs[0] is not where.inputs[0]:
        return None
    fill = scalar(first.inputs[1])
    product = only_user(where.outputs[0])
    if fill is None or fill > _LARGEST_FILL or product is None or product.op_type != "MatMul":
        return None
    if product.inputs[0] is not where.outputs[0] or product.outputs[0].is_graph_output():
        return None
    return product


def _fully_masked(patch: Patch, mask: ir.Value) -> ir.Value:
    """Rows of a boolean mask that are all true, with the last axis kept at length 1."""
    least = patch.op(
        "ReduceMin",
        patch.op("Cast", mask, to=int(ir.DataType.INT32)),
        patch.ints(-1),
        keepdims=1,
    )
    return patch.op("Cast", least, to=int(ir.DataType.BOOL))


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type and not node.domain else None
