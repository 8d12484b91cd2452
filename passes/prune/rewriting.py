"""What nodes need besides smaller constants: attributes, split sizes, targets of Reshapes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Patch
from .links import Axis, Use
from .rules.selection import sliced_places
from .rules.sizes import TARGET_INPUT
from .shapes import slice_ranges, split_sizes
from .size import Size
from .surgery import Surgery, cut_rule


@cut_rule(*TARGET_INPUT)
def _retarget(surgery: Surgery, node: ir.Node) -> None:
    """Writes the new sizes into the target.

    Sizes that are not known are left to the operator where it can find them out (-1 and 0 of a
    Reshape, 1 of an Expand), and computed as before where it cannot.
    """
    index = TARGET_INPUT[node.op_type]
    target = node.inputs[index]
    if target is None or not (surgery.output_is_cut(node) or _depends_on_cut(surgery, target)):
        return
    out = surgery.analysis.shapes.of(node.outputs[0])
    if out is None:
        return
    new: list[int | None] = []
    for place, size in enumerate(out):
        axis = surgery.analysis.wiring.output(node, place)
        new.append(surgery.count(axis) if axis is not None else size.number)
    if node.op_type == "Reshape":
        new = _leave_to_reshape(surgery, node, new)
    elif node.op_type == "Expand":
        new = _leave_to_expand(surgery, node, new)
    surgery.replace_numbers(node, index, new)


def _leave_to_reshape(surgery: Surgery, node: ir.Node, new: list[int | None]) -> list[int | None]:
    before = surgery.analysis.shapes.of(node.inputs[0]) or ()
    after = surgery.analysis.shapes.of(node.outputs[0]) or ()
    missing = [place for place, size in enumerate(new) if size is None]
    if node.attributes.get_int("allowzero", 0) or len(missing) < 2:
        copied = []
    else:
        copied = [p for p in missing if p < len(before) and before[p] == after[p]]
    open_places = [p for p in missing if p not in copied]
    if len(open_places) > 1:
        return new
    return [0 if p in copied else -1 if p in open_places else size for p, size in enumerate(new)]


def _leave_to_expand(surgery: Surgery, node: ir.Node, new: list[int | None]) -> list[int | None]:
    before = surgery.analysis.shapes.of(node.inputs[0]) or ()
    after = surgery.analysis.shapes.of(node.outputs[0]) or ()
    lead = len(after) - len(before)
    return [
        1 if size is None and place >= lead and before[place - lead] == after[place] else size
        for place, size in enumerate(new)
    ]


def _depends_on_cut(surgery: Surgery, target: ir.Value) -> bool:
    """Whether a computed target reads the size of something that is cut."""
    pending, seen = [target], set()
    while pending:
        value = pending.pop()
        node = value.producer()
        if node is None or value in seen:
            continue
        seen.add(value)
        if node.op_type == "Shape":
            source = node.inputs[0]
            rank = surgery.analysis.wiring.rank(source) or 0
            if source is not None and any(surgery.is_cut(Axis(source, a)) for a in range(rank)):
                return True
            continue
        pending.extend(each for each in node.inputs if each is not None)
    return False


@cut_rule("Split")
def _resplit(surgery: Surgery, node: ir.Node) -> None:
    found = split_sizes(surgery.analysis.shapes, node)
    if found is None:
        return
    cut, sizes = found
    if not surgery.is_cut(surgery.analysis.wiring.input(node, 0, cut)):
        return
    new = []
    for index, size in enumerate(sizes):
        axis = surgery.analysis.wiring.output(node, cut, index)
        new.append(surgery.count(axis) if axis is not None else size.number or 0)
    equal = len(set(new)) == 1
    stated = len(node.inputs) > 1 and node.inputs[1] is not None
    if equal and not stated:
        return
    node.attributes.pop("num_outputs", None)
    numbers_ = Patch(node).ints(*new)
    if len(node.inputs) > 1:
        node.replace_input_with(1, numbers_)
    else:
        node.resize_inputs(2)
        node.replace_input_with(1, numbers_)


@cut_rule("Slice")
def _reslice(surgery: Surgery, node: ir.Node) -> None:
    ranges = slice_ranges(surgery.analysis.shapes, node)
    if ranges is None:
        return
    new: dict[int, tuple[int, int]] = {}
    for axis in ranges:
        source = surgery.analysis.wiring.input(node, 0, axis)
        flags = surgery.kept(source)
        places = sliced_places(surgery.analysis.shapes, node, axis)
        if flags is None or flags.all() or places is None or not places.size:
            continue
        start = int(flags[: places[0]].sum())
        new[axis] = (start, start + int(flags[places].sum()))
    if not new:
        return
    for index, which in ((1, 0), (2, 1)):
        vector: list[int | None] = []
        for axis, stated in ranges.items():
            size = stated[which]
            old = size.number if isinstance(size, Size) else None
            vector.append(new[axis][which] if axis in new else old)
        surgery.replace_numbers(node, index, vector)


@cut_rule("Gather")
def _reindex(surgery: Surgery, node: ir.Node) -> None:
    """Indices into a shorter axis; the indices of what is cut go with the node's constants."""
    rank = surgery.analysis.wiring.rank(node.inputs[0])
    indices = surgery.analysis.facts.constant(node.inputs[1])
    if not rank or indices is None:
        return
    axis = surgery.analysis.wiring.input(node, 0, node.attributes.get_int("axis", 0) % rank)
    flags = surgery.kept(axis)
    if flags is None or flags.all():
        return
    moved = np.asarray(np.take(np.cumsum(flags) - 1, indices), np.int64)
    node.replace_input_with(1, Patch(node).constant(moved, "indices"))


@cut_rule("Conv")
def _regroup(surgery: Surgery, node: ir.Node) -> None:
    group = node.attributes.get_int("group", 1)
    if group == 1:
        return
    wiring = surgery.analysis.wiring
    virtual = Axis(Use(node, -1), 0)
    groups = virtual if virtual in wiring.sizes else wiring.input(node, 0, 1)
    if groups is not None and surgery.is_cut(groups):
        node.attributes["group"] = ir.AttrInt64("group", surgery.count(groups))


@cut_rule("QuantizeLinear", "DequantizeLinear")
def _reblock(surgery: Surgery, node: ir.Node) -> None:
    """One block over a whole axis stays one; smaller blocks are cut as a whole."""
    block, rank = (
        node.attributes.get_int("block_size", 0),
        surgery.analysis.wiring.rank(node.outputs[0]),
    )
    if not block or not rank:
        return
    axis = surgery.analysis.wiring.output(node, node.attributes.get_int("axis", 1) % rank)
    if axis is not None and surgery.is_cut(axis) and block >= surgery.analysis.wiring.sizes[axis]:
        node.attributes["block_size"] = ir.AttrInt64("block_size", surgery.count(axis))
