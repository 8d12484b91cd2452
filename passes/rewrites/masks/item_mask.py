"""A mask that is written into some items of a batch, as a mask of all.

Encoders that cut frames into blocks mask scores of the last block of each utterance alone, and
exports copy twice for that: the blocks in question are cut out, masked, and written over those in a
copy of all scores. The mask of all items says the same, is much smaller, and is one like others.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import Patch, constant, producer, replace_value, scalar

#: Between a number and the vector of one element that a Slice takes.
_AS_VECTOR = frozenset(("Reshape", "Unsqueeze", "Squeeze", "Identity"))


@dataclasses.dataclass(frozen=True)
class ItemMask(InPlacePass):
    """Rewrites ``ScatterND(x, items, Where(m, fill, Slice(x)))`` as ``Where(n, fill, x)``.

    Where ``items`` and the Slice take the same range of the first axis. The mask ``m`` has the last
    two of four axes; ``n`` is [items, 1, ...] and true in those items where ``m`` is. Lossless.
    What counts the items no longer reads ``x``, so that ``x`` may go where it is not needed.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            found = _masked(node)
            if found is None:
                continue
            count = _count(found)
            patch = Patch(node)
            mask = _mask_of_all(patch, found, count)
            replace_value(node.outputs[0], patch.op("Where", mask, found.fill, found.value))
            journal.change(layer_of(node), "mask of some items became one of all")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _Masked:
    """What is masked.

    Attributes:
        value: [items, ...], of four axes.
        items: Which items are, int64 [masked items, 1].
        number: How many there are in all, as the graph computes it.
        mask: Of two axes, true where the fill is written.
        fill: A number.
    """

    value: ir.Value
    items: ir.Value
    number: ir.Value
    mask: ir.Value
    fill: ir.Value


def _masked(node: ir.Node) -> _Masked | None:
    if node.op_type != "ScatterND" or node.attributes.get_string("reduction", "none") != "none":
        return None
    value, items, written = node.inputs
    where = producer(written, "Reshape") or producer(written, "Where")
    if where is not None and where.op_type == "Reshape":
        where = producer(where.inputs[0], "Where")
    cut = producer(where.inputs[2], "Slice") if where is not None else None
    if value is None or items is None or where is None or cut is None:
        return None
    mask, fill, _ = where.inputs
    if mask is None or fill is None or scalar(fill) is None or cut.inputs[0] is not value:
        return None
    number = _number_of(items, cut, value)
    if _rank(mask) != 2 or _rank(value) != 4 or number is None:
        return None
    return _Masked(value, items, number, mask, fill)


def _number_of(items: ir.Value, cut: ir.Node, value: ir.Value) -> ir.Value | None:
    """The number of a value's items in all, if a Slice takes those that ``items`` are."""
    column = producer(items, "Unsqueeze")
    numbers = producer(column.inputs[0], "Slice") if column is not None else None
    counted = producer(numbers.inputs[0], "Range") if numbers is not None else None
    if column is None or numbers is None or counted is None or scalar(column.inputs[1]) != -1:
        return None
    begin, end, step = counted.inputs
    fits = (
        (scalar(begin), scalar(step)) == (0, 1)
        and _is_count(end, value)
        and _range(numbers) == _range(cut) is not None
    )
    return end if fits else None


def _range(node: ir.Node) -> tuple[object, ...] | None:
    """Begin, end and step of a Slice of the first axis, as numbers or what computes them."""
    inputs = list(node.inputs)
    if len(inputs) < 4 or scalar(inputs[3]) != 0:
        return None
    step = _number(inputs[4]) if len(inputs) > 4 else 1.0
    return _number(inputs[1]), _number(inputs[2]), step


def _number(value: ir.Value | None) -> object:
    while value is not None and constant(value) is None:
        node = value.producer()
        if node is None or node.op_type not in _AS_VECTOR:
            return value
        value = node.inputs[0]
    return scalar(value)


def _is_count(number: ir.Value | None, value: ir.Value) -> bool:
    """Whether a number is the size of a value's first axis."""
    gather = producer(number, "Gather")
    shape = producer(gather.inputs[0], "Shape") if gather is not None else None
    return (
        gather is not None
        and shape is not None
        and scalar(gather.inputs[1]) == 0
        and shape.inputs[0] is value
        and shape.attributes.get_int("start", 0) == 0
    )


def _count(found: _Masked) -> ir.Value:
    """The number of items as a vector of one, for the graph as well."""
    before = found.number.producer()
    assert before is not None, "the graph computes it"
    patch = Patch(before)
    count = patch.op("Shape", _of_as_many_items(found.value), start=0, end=1)
    replace_value(found.number, patch.op("Squeeze", count))
    return count


def _of_as_many_items(value: ir.Value) -> ir.Value:
    """What a value was computed from, as far as its first axis is the same."""
    while (node := value.producer()) is not None:
        before = node.inputs[0]
        if before is None:
            break
        scaled = node.op_type in ("Mul", "Div") and scalar(node.inputs[1]) is not None
        turned = node.op_type == "Transpose" and node.attributes.get_ints("perm", (1,))[0] == 0
        product = node.op_type == "MatMul" and (_rank(before), _rank(node.inputs[1])) == (4, 3)
        if not (scaled or turned or product):
            break
        value = before
    return value


def _mask_of_all(patch: Patch, found: _Masked, count: ir.Value) -> ir.Value:
    """The mask [items, 1, ...]."""
    masked_count = patch.op("Shape", found.items, start=0, end=1)
    none, all_ = (patch.shared(np.array(each), f"bool[{each}]") for each in (False, True))
    kept = patch.op("Expand", none, count)
    chosen = patch.op("ScatterND", kept, found.items, patch.op("Expand", all_, masked_count))
    rows = patch.op("Unsqueeze", chosen, patch.ints(1, 2, 3))
    mask = patch.op("And", rows, found.mask)
    assert found.value.shape is not None and found.mask.shape is not None, "they have ranks"
    mask.dtype = ir.DataType.BOOL
    mask.shape = ir.Shape([found.value.shape[0], 1, *found.mask.shape])
    return mask


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)
