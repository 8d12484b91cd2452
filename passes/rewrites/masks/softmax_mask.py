"""Masks behind a Softmax moved to its much smaller product with the values.

Attention masks scores with a large negative number before the Softmax, and many exports mask the
probabilities with zero once more behind it. For a row that keeps at least one score, the second
mask changes nothing: exp underflows to zero. Rows of padding, all of whose scores are masked, come
out uniform, and there the second mask makes the product zero. Masking those rows of the product
[batch, heads, T, head size] says the same as masking T × T probabilities.

The first mask may then add the negative number instead of writing it, since what it leaves of a
masked score matters nowhere; the summand is the same for all layers and heads, and ONNX Runtime
adds twice as fast as it chooses.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...linear import only_user
from ...rewrite import Patch, constant, producer, replace_value, scalar

#: exp(-10,000 - max) is zero in float32 for every max above -9,800: any sane score.
_LARGEST_FILL = -1e4


@dataclasses.dataclass(frozen=True)
class SoftmaxMask(InPlacePass):
    """Rewrites ``MatMul(Where(m, 0, Softmax(Where(m, fill, s))), v)``.

    Becomes ``Where(all(m), 0, MatMul(Softmax(s + Where(m, fill, 0)), v))`` for fill <= -10,000. It
    assumes scores that differ by less than 9,800.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        rows: dict[ir.Value, ir.Value] = {}
        summands: dict[tuple[ir.Value, float | None], ir.Value] = {}
        for node in list(model.graph):
            found = _masked_twice(node)
            if found is None:
                continue
            _mask_rows(found, rows)
            _add_mask(found, summands)
            journal.change(layer_of(node), "mask behind the Softmax moved to its product")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _MaskedTwice:
    """The idiom's nodes.

    Attributes:
        before: Writes the fill into masked scores.
        behind: Writes zeros into masked probabilities.
        product: Of probabilities and values.
    """

    before: ir.Node
    behind: ir.Node
    product: ir.Node

    @property
    def mask(self) -> ir.Value:
        """True where a key does not count."""
        mask = self.before.inputs[0]
        assert mask is not None
        return mask


def _masked_twice(where: ir.Node) -> _MaskedTwice | None:
    """Reads the idiom from its second mask, or None."""
    if where.op_type != "Where" or where.domain or scalar(where.inputs[1]) != 0:
        return None
    softmax = producer(where.inputs[2], "Softmax")
    if softmax is None or softmax.attributes.get_int("axis", -1) not in (-1, 3):
        return None
    if only_user(softmax.outputs[0]) is not where:
        return None  # whoever else reads rows of padding would see others
    first = producer(softmax.inputs[0], "Where")
    if first is None or first.inputs[0] is not where.inputs[0]:
        return None
    fill = scalar(first.inputs[1])
    product = only_user(where.outputs[0])
    if fill is None or fill > _LARGEST_FILL or product is None or product.op_type != "MatMul":
        return None
    if product.inputs[0] is not where.outputs[0] or product.outputs[0].is_graph_output():
        return None
    return _MaskedTwice(first, where, product)


def _mask_rows(found: _MaskedTwice, rows: dict[ir.Value, ir.Value]) -> None:
    """Masks rows of the product instead of probabilities; which ones is found once for a mask."""
    node, product = found.behind, found.product
    if found.mask not in rows:
        rows[found.mask] = _fully_masked(Patch(node), found.mask)
    product.replace_input_with(0, node.inputs[2])
    result = product.outputs[0]
    users = list(result.uses())
    patch = Patch(product, result.name, behind=True)
    masked = patch.op("Where", rows[found.mask], node.inputs[1], result)
    masked.type, masked.shape = result.type, result.shape
    for user, index in users:
        user.replace_input_with(index, masked)


def _add_mask(found: _MaskedTwice, summands: dict[tuple[ir.Value, float | None], ir.Value]) -> None:
    """``Where(m, fill, s)`` becomes ``s + Where(m, fill, 0)``, the summand made once for a mask."""
    _, fill, scores = found.before.inputs
    number = constant(fill)
    assert number is not None, "asked for before"
    result, key = found.before.outputs[0], (found.mask, scalar(fill))
    if only_user(result) is None:
        return
    patch = Patch(found.before)
    if key not in summands:
        zero = patch.constant(np.zeros((), number.dtype), "zero")
        summands[key] = patch.op("Where", found.mask, fill, zero)
        summands[key].dtype = ir.DataType.from_numpy(number.dtype)
        summands[key].shape = found.mask.shape
    replace_value(result, patch.op("Add", scores, summands[key]))


def _fully_masked(patch: Patch, mask: ir.Value) -> ir.Value:
    """Rows of a boolean mask that are all true, with the last axis kept at length 1."""
    least = patch.op(
        "ReduceMin",
        patch.op("Cast", mask, to=int(ir.DataType.INT32)),
        patch.ints(-1),
        keepdims=1,
    )
    rows = patch.op("Cast", least, to=int(ir.DataType.BOOL))
    rows.dtype = ir.DataType.BOOL
    if mask.shape is not None:
        rows.shape = ir.Shape([*mask.shape[:-1], 1])
    return rows
