"""Operators that take a part of a value, or put values side by side."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..facts import Facts, fact_rule
from ..known import Fact, collapse
from ..links import Places
from ..shapes import Shapes, pads_of, slice_ranges, split_sizes
from ..size import ZERO
from ..wiring import Wiring, link_rule, span


@fact_rule("Split")
def _split(facts: Facts, node: ir.Node) -> list[Fact | None]:
    fact, found = facts.of(node.inputs[0]), split_sizes(facts.shapes, node)
    if fact is None or found is None:
        return [None]
    axis, sizes = found
    if fact.shape[axis] == 1:
        return [fact] * len(sizes)
    stops = np.cumsum([size.number or 0 for size in sizes])[:-1]
    return list(np.split(fact, stops, axis=axis))


@link_rule("Split")
def _link_split(wiring: Wiring, node: ir.Node) -> None:
    found = split_sizes(wiring.shapes, node)
    if found is None:
        return
    cut, sizes = found
    start = 0
    for index, size in enumerate(sizes):
        for axis in range(wiring.rank(node.inputs[0]) or 0):
            source, target = wiring.input(node, 0, axis), wiring.output(node, axis, index)
            if axis != cut:
                wiring.tie(source, target)
            elif target is not None and size.number is not None:
                wiring.tie(source, target, span(start, size.number))
            elif size.number == 1:
                wiring.stay(source, f"Split '{node.name}' takes it alone", span(start, 1))
        start += size.number or 0


@fact_rule("Concat")
def _concat(facts: Facts, node: ir.Node) -> list[Fact | None]:
    given = [facts.or_unknown(each) for each in node.inputs]
    known = [each for each in given if each is not None]
    if len(known) < len(given):
        return [None]
    axis = node.attributes.get_int("axis", 0) % known[0].ndim
    sizes = [(facts.shapes.of(each) or ())[axis].number for each in node.inputs]
    if any(size is None for size in sizes):
        same = [collapse(each, axis) for each in known]
        found = same[0]
        for each in same[1:]:
            found = np.where(found == each, found, np.nan)
        return [found]
    others = [max(each.shape[i] for each in known) for i in range(known[0].ndim)]
    parts = [
        np.broadcast_to(each, [*others[:axis], size or 1, *others[axis + 1 :]])
        for each, size in zip(known, sizes, strict=True)
    ]
    return [np.concatenate(parts, axis=axis)]


@link_rule("Concat")
def _link_concat(wiring: Wiring, node: ir.Node) -> None:
    rank = wiring.rank(node.outputs[0])
    if not rank:
        return
    joined = node.attributes.get_int("axis", 0) % rank
    for axis in range(rank):
        out = wiring.output(node, axis)
        start = 0
        for index, value in enumerate(node.inputs):
            source = wiring.input(node, index, axis)
            size = (wiring.shapes.of(value) or ())[axis].number
            if axis != joined:
                wiring.tie(source, out)
            elif out is not None and size is not None:
                wiring.tie(source, out, None, span(start, size))
                if size == 1:
                    wiring.stay(out, f"Concat '{node.name}' puts it there", span(start, 1))
            start += size or 0


@fact_rule("Slice")
def _slice(facts: Facts, node: ir.Node) -> list[Fact | None]:
    fact, ranges = facts.of(node.inputs[0]), slice_ranges(facts.shapes, node)
    if fact is None or ranges is None:
        return [None]
    for axis in ranges:
        places = sliced_places(facts.shapes, node, axis)
        if places is None:
            fact = collapse(fact, axis)
        if fact.shape[axis] > 1 and places is not None:
            fact = np.take(fact, places, axis=axis)
    return [fact]


def sliced_places(shapes: Shapes, node: ir.Node, axis: int) -> Places | None:
    """The places of an axis that a Slice takes; None if that is not known."""
    ranges, shape = slice_ranges(shapes, node), shapes.of(node.inputs[0])
    if ranges is None or shape is None or shape[axis].number is None:
        return None
    start, end, step = ranges[axis]
    if start is None or end is None or not step or start.number is None or end.number is None:
        return None
    return np.arange(shape[axis].number or 0)[start.number : end.number : step]


@link_rule("Slice")
def _link_slice(wiring: Wiring, node: ir.Node) -> None:
    ranges = slice_ranges(wiring.shapes, node)
    if ranges is None:
        return
    for axis in range(wiring.rank(node.inputs[0]) or 0):
        source, target = wiring.input(node, 0, axis), wiring.output(node, axis)
        if axis not in ranges:
            wiring.tie(source, target)
            continue
        places = sliced_places(wiring.shapes, node, axis)
        if source is None or places is None or ranges[axis][2] != 1:
            continue
        if target is None:
            wiring.stay(source, f"Slice '{node.name}' takes it alone", places)
        else:
            wiring.tie(source, target, places)


@fact_rule("Gather")
def _gather(facts: Facts, node: ir.Node) -> list[Fact | None]:
    fact = facts.of(node.inputs[0])
    if fact is None:
        return [None]
    axis = node.attributes.get_int("axis", 0) % fact.ndim
    indices = facts.constant(node.inputs[1])
    if indices is None:
        rank = len(facts.shapes.of(node.inputs[1]) or ())
        if facts.shapes.of(node.inputs[1]) is None:
            return [None]
        fact = collapse(fact, axis)
        shape = (*fact.shape[:axis], *(1,) * rank, *fact.shape[axis + 1 :])
        return [fact.reshape(shape)]
    if fact.shape[axis] == 1:
        indices = np.zeros((1,) * indices.ndim, np.int64)
    return [np.take(fact, indices.astype(np.int64), axis=axis)]


@link_rule("Gather")
def _link_gather(wiring: Wiring, node: ir.Node) -> None:
    rank, taken = wiring.rank(node.inputs[0]), wiring.rank(node.inputs[1])
    if not rank or taken is None:
        return
    cut = node.attributes.get_int("axis", 0) % rank
    for axis in range(rank):
        if axis != cut:
            place = axis if axis < cut else axis + taken - 1
            wiring.tie(wiring.input(node, 0, axis), wiring.output(node, place))
    source, indices = wiring.input(node, 0, cut), wiring.facts.constant(node.inputs[1])
    if source is None or indices is None:
        return
    places = indices.reshape(-1).astype(np.intp) % wiring.sizes[source]
    if taken == 1 and places.size > 1:
        # The indices themselves are cut with what they take.
        out = wiring.output(node, cut)
        wiring.tie(source, out, places)
        wiring.tie(wiring.input(node, 1, 0), out)
    else:
        wiring.stay(source, f"Gather '{node.name}' takes it", places)


@fact_rule("Pad")
def _pad(facts: Facts, node: ir.Node) -> list[Fact | None]:
    fact, pads = facts.of(node.inputs[0]), pads_of(facts.shapes, node)
    if fact is None:
        return [None]
    constant = node.attributes.get_string("mode", "constant") == "constant"
    for axis in range(fact.ndim):
        if pads is None or pads[axis] != (ZERO, ZERO):
            fact = collapse(fact, axis)
    if constant and (pads is None or any(each != (ZERO, ZERO) for each in pads)):
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        number = np.zeros(1) if fill is None else facts.constant(fill)
        if number is None:
            return [None]
        fact = np.where(fact == number.reshape(-1)[0], fact, np.nan)
    return [fact]


@link_rule("Pad")
def _link_pad(wiring: Wiring, node: ir.Node) -> None:
    pads = pads_of(wiring.shapes, node)
    for axis, added in enumerate(pads or ()):
        if added == (ZERO, ZERO):
            wiring.tie(wiring.input(node, 0, axis), wiring.output(node, axis))


@link_rule("GatherElements")
def _link_gather_elements(wiring: Wiring, node: ir.Node) -> None:
    """Other axes than the gathered one are tied where data and indices agree in size."""
    rank = wiring.rank(node.inputs[0])
    if rank is None:
        return
    cut = node.attributes.get_int("axis", 0) % rank
    for axis in range(rank):
        data, indices = (wiring.input(node, index, axis) for index in (0, 1))
        if axis == cut or data is None or indices is None:
            continue
        if wiring.sizes[data] == wiring.sizes[indices]:
            wiring.tie(data, indices)
            wiring.tie(indices, wiring.output(node, axis))
