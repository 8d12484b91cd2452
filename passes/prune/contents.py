"""What is in the small integer tensors that say how large something is.

Exporters compute the target of every Reshape with Shape, Gather, Concat and the like. The elements
are followed as polynomials (``Size``), so that equal sizes are recognised wherever they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..rewrite import constant
from .size import ZERO, Size, product

#: Elements are ``Size``; the array has the shape of the tensor.
Content = npt.NDArray[np.object_]
#: Position tables and weights are no sizes.
_MOST_ELEMENTS = 64

Rule = Callable[[ir.Node, Sequence[Content | None]], Content | None]


def of_constant(value: ir.Value) -> Content | None:
    """The elements of a small constant of integers or booleans."""
    tensor = value.const_value
    if tensor is not None and (tensor.size > _MOST_ELEMENTS or tensor.dtype.is_floating_point()):
        return None
    array = constant(value)
    if array is None or array.size > _MOST_ELEMENTS or array.dtype.kind not in "iub":
        return None
    return _map(lambda number: Size.of(int(number)), array)


def of_shape(node: ir.Node, shape: Sequence[Size]) -> Content:
    """The output of a Shape node."""
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(shape))
    dims = list(shape)[start:end]
    content = np.empty(len(dims), object)
    content[:] = dims
    return content


def of_node(node: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    """The elements of a node's first output, given those of its inputs; None if not followed."""
    rule = _RULES.get(node.op_type)
    if rule is None or node.domain or (inputs and inputs[0] is None):
        return None
    try:
        found = rule(node, inputs)
    except (IndexError, ValueError, TypeError, AttributeError):
        # Contents that do not fit together are simply not followed.
        return None
    return found if found is None or found.size <= _MOST_ELEMENTS else None


def numbers(content: Content | None) -> list[int] | None:
    """All elements as numbers in one list, or None unless all are known."""
    if content is None:
        return None
    found = [each.number for each in content.reshape(-1)]
    return None if any(each is None for each in found) else [int(each or 0) for each in found]


def _map(function: Callable[..., Size], *arrays: npt.NDArray[np.generic]) -> Content:
    spread = np.broadcast_arrays(*arrays)
    flat = [function(*each) for each in zip(*(a.reshape(-1) for a in spread), strict=True)]
    out = np.empty(len(flat), object)
    out[:] = flat
    return out.reshape(spread[0].shape)


def _elementwise(function: Callable[[Size, Size], Size]) -> Rule:
    def rule(_: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
        left, right = inputs
        return None if left is None or right is None else _map(function, left, right)

    return rule


def quotient(a: Size, b: Size) -> Size:
    """``a / b`` as integers are divided, for sizes; a new symbol where that is no polynomial.

    Whole multiples of a known divisor are taken out, so that (t + 9) / 4 and (t + 1) / 4 + 2 are
    one size, as convolutions and exporters write it. Both are right where neither is negative.
    """
    divisor = b.number
    if a.number is not None and divisor:
        return Size.of(int(a.number / divisor) if a.number % divisor else a.number // divisor)
    exact = a.exact_quotient(b) if b.terms else None
    if exact is not None:
        return exact
    if not divisor or divisor < 0:
        return Size.symbol(f"({a})/({b})")
    whole = Size(tuple((m, c // divisor) for m, c in a.terms if c // divisor))
    rest = Size(tuple((m, c % divisor) for m, c in a.terms if c % divisor))
    return whole + Size.symbol(f"({rest})/({b})")


def _equal(a: Size, b: Size) -> Size:
    """Sizes are never negative: a symbolic one differs from the -1 of a Reshape."""
    difference = (a - b).number
    if difference is not None:
        return Size.of(int(difference == 0))
    if any(x.is_size and y.number is not None and y.number < 0 for x, y in ((a, b), (b, a))):
        return ZERO
    return Size.symbol(f"({a})==({b})")


def _where(_: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    condition, left, right = inputs
    if condition is None or left is None or right is None:
        return None

    def choose(which: Size, a: Size, b: Size) -> Size:
        if which.number is None:
            return a if a == b else Size.symbol(f"({which})?({a}):({b})")
        return a if which.number else b

    return _map(choose, condition, left, right)


def _gather(node: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    data, indices = inputs
    found = numbers(indices)
    if data is None or indices is None or found is None:
        return None
    places = np.array(found, np.int64).reshape(indices.shape)
    taken = np.take(data, places, axis=node.attributes.get_int("axis", 0))
    return _as_array(taken)


def _slice(_: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    data, *rest = inputs
    lists = [None if each is None else numbers(each) for each in rest]
    if data is None or lists[0] is None or lists[1] is None:
        return None
    starts, ends = lists[0], lists[1]
    axes = lists[2] if len(lists) > 2 and lists[2] is not None else list(range(len(starts)))
    steps = lists[3] if len(lists) > 3 and lists[3] is not None else [1] * len(starts)
    place = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop: int | None = end
        if step < 0 and end < -data.shape[axis]:
            stop = None
        place[axis] = slice(start, stop, step)
    return data[tuple(place)]


def _concat(node: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    arrays = [each for each in inputs if each is not None]
    if len(arrays) < len(inputs):
        return None
    return np.concatenate(arrays, axis=node.attributes.get_int("axis", 0))


def _reshape(_: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    target = numbers(inputs[1])
    return None if inputs[0] is None or target is None else inputs[0].reshape(target)


def _transpose(node: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    data = inputs[0]
    return None if data is None else data.transpose(node.attributes.get_ints("perm", None))


def _unsqueeze(_: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    axes = numbers(inputs[1])
    return None if inputs[0] is None or axes is None else np.expand_dims(inputs[0], tuple(axes))


def _squeeze(_: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    if inputs[0] is None:
        return None
    axes = numbers(inputs[1]) if len(inputs) > 1 else None
    return _as_array(np.squeeze(inputs[0], tuple(axes) if axes is not None else None))


def _same(_: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    return inputs[0]


def _constant_of_shape(node: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    target = numbers(inputs[0])
    attribute = node.attributes.get("value")
    fill = attribute.as_tensor().numpy() if attribute is not None else np.zeros(1, np.float32)
    if target is None or fill.dtype.kind not in "iub":
        return None
    return _map(lambda number: Size.of(int(number)), np.full(target, fill.reshape(-1)[0]))


def _reduce_prod(node: ir.Node, inputs: Sequence[Content | None]) -> Content | None:
    if inputs[0] is None or (len(inputs) > 1 and numbers(inputs[1]) != [0]):
        return None
    out = np.empty((), object)
    out[()] = product(inputs[0].reshape(-1))
    return out.reshape(1) if node.attributes.get_int("keepdims", 1) else out


def _as_array(found: object) -> Content:
    """Numpy hands out a bare element where an array of rank 0 is meant."""
    if isinstance(found, np.ndarray):
        return found
    out = np.empty((), object)
    out[()] = found
    return out


_RULES: dict[str, Rule] = {
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(quotient),
    "Equal": _elementwise(_equal),
    "Where": _where,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Identity": _same,
    "ConstantOfShape": _constant_of_shape,
    "ReduceProd": _reduce_prod,
    "Max": _elementwise(lambda a, b: _extreme(max, a, b)),
    "Min": _elementwise(lambda a, b: _extreme(min, a, b)),
}


def _extreme(which: Callable[[int, int], int], a: Size, b: Size) -> Size:
    if a.number is not None and b.number is not None:
        return Size.of(which(a.number, b.number))
    return Size.symbol(f"{which.__name__}({a}, {b})")
