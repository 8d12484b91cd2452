"""Shape: what reads the size of an axis, and whether it may shrink."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from ..contents import numbers
from ..shapes import Shapes
from ..wiring import Wiring, link_rule

#: Which input of a node says how large its output becomes; such targets are written anew.
TARGET_INPUT = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0}


@link_rule("Shape")
def _link_shape(wiring: Wiring, node: ir.Node) -> None:
    shape = wiring.shapes.of(node.inputs[0])
    if shape is None:
        return
    start = node.attributes.get_int("start", 0) % (len(shape) + 1)
    read = read_elements(wiring.shapes, node.outputs[0])
    for axis in range(len(shape)):
        source = wiring.input(node, 0, axis)
        if read is not None and axis - start not in read:
            wiring.free(source)
        else:
            wiring.stay(source, f"its size, which '{node.name}' takes, enters a computation")


def read_elements(shapes: Shapes, value: ir.Value) -> set[int] | None:
    """Which elements of a vector of sizes matter beyond the targets of Reshape and the like.

    A known element of a target is written into it as a number, so it does not matter there.

    Returns:
        Their indices, or None for all of them.
    """
    found: set[int] = set()
    for node, index in value.uses():
        part = _read_by(shapes, node, index)
        if part is None:
            return None
        found |= part
    return None if value.is_graph_output() else found


def _read_by(shapes: Shapes, node: ir.Node, index: int) -> set[int] | None:
    content = shapes.content(node.inputs[index])
    if content is None or content.ndim > 1:
        return None
    unknown = {i for i, each in enumerate(content.reshape(-1)) if each.number is None}
    out = shapes.content(node.outputs[0]) if node.outputs else None
    if TARGET_INPUT.get(node.op_type) == index and not node.domain:
        return unknown
    if numbers(out) is not None:
        # The whole result is known: it is replaced by a number before anything is cut.
        return set()
    if node.op_type == "Concat" and not node.domain:
        start = 0
        for each in node.inputs[:index]:
            before = shapes.content(each)
            if before is None:
                return None
            start += before.size
        read = read_elements(shapes, node.outputs[0])
        return None if read is None else {i - start for i in read if 0 <= i - start < content.size}
    if node.op_type in ("Gather", "Slice", "Squeeze", "Unsqueeze", "Identity") and not node.domain:
        return _selected(shapes, node, index)
    return None


def _selected(shapes: Shapes, node: ir.Node, index: int) -> set[int] | None:
    """Elements that a node picks, if what it picks is read."""
    content = shapes.content(node.inputs[0])
    if index != 0 or content is None:
        return None
    if node.op_type == "Gather":
        chosen = numbers(shapes.content(node.inputs[1]))
        places = None if chosen is None else [i % content.size for i in chosen]
    elif node.op_type == "Slice":
        places = list(_sliced(shapes, node, content.size))
    else:
        places = list(range(content.size))
    if places is None:
        return None
    read = read_elements(shapes, node.outputs[0])
    return set(places) if read is None else {places[i] for i in read if i < len(places)}


def _sliced(shapes: Shapes, node: ir.Node, size: int) -> Iterator[int]:
    lists = [numbers(shapes.content(each)) for each in node.inputs[1:]]
    step = (lists[3] if len(lists) > 3 else None) or [1]
    if len(lists) < 2 or not lists[0] or not lists[1]:
        yield from range(size)
    else:
        yield from range(*slice(lists[0][0], lists[1][0], step[0]).indices(size))
