"""Symbolic shapes of all values of a graph.

ONNX's inference gives every computed size a new name; removal must know that the batch and the
time of two values are the same, or it could not follow an axis through a Reshape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from ..rewrites.layers.einsum import einsum_labels
from . import contents
from .contents import Content, numbers
from .size import ONE, Size, product

Shape = tuple[Size, ...]


class Shapes:
    """Symbolic shape and, for small integer tensors, content of every value of a graph.

    Sizes are assumed to be positive: an axis of size zero holds nothing that could differ.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._shapes: dict[ir.Value, Shape | None] = {}
        self._contents: dict[ir.Value, Content | None] = {}
        self._fresh = 0
        for value in graph.inputs:
            self._shapes[value] = self._declared(value)
        for node in graph:
            self._visit(node)

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value, None where not even the rank is known."""
        if value is None:
            return None
        if value not in self._shapes:
            self._shapes[value] = self._declared(value)
        return self._shapes[value]

    def content(self, value: ir.Value | None) -> Content | None:
        """The elements of a small integer tensor, None where they are not followed."""
        if value is None:
            return None
        if value not in self._contents:
            self._contents[value] = contents.of_constant(value)
        return self._contents[value]

    @staticmethod
    def of_numbers(shape: Sequence[int]) -> Shape:
        """A shape of known sizes."""
        return tuple(Size.of(size) for size in shape)

    def fresh(self) -> Size:
        """A size that equals no other."""
        self._fresh += 1
        return Size.symbol(f"?{self._fresh}")

    def _declared(self, value: ir.Value) -> Shape | None:
        """The shape as the file or ONNX's inference states it."""
        if value.const_value is not None:
            return tuple(Size.of(int(n)) for n in value.const_value.shape.numpy())
        if value.shape is None:
            return None
        return tuple(
            Size.of(each)
            if isinstance(each, int)
            else Size.symbol(each.value)
            if value.is_graph_input() and each.value
            else self.fresh()
            for each in value.shape
        )

    def _visit(self, node: ir.Node) -> None:
        if node.op_type == "Shape" and not node.domain:
            shape = self.of(node.inputs[0])
            if shape is not None:
                self._contents[node.outputs[0]] = contents.of_shape(node, shape)
        elif len(node.outputs) == 1 and (
            node.outputs[0].dtype is None or node.outputs[0].dtype.is_integer() or _is_bool(node)
        ):
            given = [self.content(each) for each in node.inputs]
            self._contents[node.outputs[0]] = contents.of_node(node, given)
        elif node.op_type == "Cast":
            # Sizes pass through floats on their way to a number of frames; those stay unknown.
            self._contents[node.outputs[0]] = None
        rule = None if node.domain else _RULES.get(node.op_type)
        found = None if rule is None else rule(self, node)
        for index, value in enumerate(node.outputs):
            stated = self._declared(value)
            shape = found[index] if found is not None and index < len(found) else None
            self._shapes[value] = _merge(shape, stated)


def _is_bool(node: ir.Node) -> bool:
    return node.outputs[0].dtype == ir.DataType.BOOL


def _merge(found: Shape | None, stated: Shape | None) -> Shape | None:
    """What was followed, with the numbers that only inference knows."""
    if found is None or stated is None or len(found) != len(stated):
        return stated if found is None else found
    return tuple(
        b if a.number is None and b.number is not None else a
        for a, b in zip(found, stated, strict=True)
    )


def broadcast(shapes: Sequence[Shape | None]) -> Shape | None:
    """The shape of an element-wise result.

    Two different unknown sizes are taken for the first one's: a valid run has them equal, unless
    one of them happens to be one.
    """
    known = [each for each in shapes if each is not None]
    if len(known) < len(shapes) or not known:
        return None
    rank = max(map(len, known))
    padded = [(ONE,) * (rank - len(each)) + each for each in known]
    return tuple(_broadcast_axis(sizes) for sizes in zip(*padded, strict=True))


def _broadcast_axis(sizes: Sequence[Size]) -> Size:
    others = [size for size in sizes if size != ONE]
    stated = [size for size in others if size.number is not None]
    return stated[0] if stated else others[0] if others else ONE


_Rule = Callable[[Shapes, ir.Node], "list[Shape | None] | None"]


def _same(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    return [shapes.of(node.inputs[0])]


def _elementwise(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    return [broadcast([shapes.of(each) for each in node.inputs])]


def _matmul(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    a, b = shapes.of(node.inputs[0]), shapes.of(node.inputs[1])
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return [None]
    batch = broadcast([a[:-2], b[:-2]])
    return [None if batch is None else (*batch, a[-2], b[-1])]


def _gemm(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    a, b = shapes.of(node.inputs[0]), shapes.of(node.inputs[1])
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return [None]
    rows = a[1 if node.attributes.get_int("transA", 0) else 0]
    return [(rows, b[0 if node.attributes.get_int("transB", 0) else 1])]


def _conv(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x, w = shapes.of(node.inputs[0]), shapes.of(node.inputs[1])
    if x is None or w is None or len(x) < 3:
        return [None]
    get = node.attributes.get_ints
    axes = len(x) - 2
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return [(x[0], w[0], *(shapes.fresh() for _ in range(axes)))]
    pads, strides = get("pads", [0] * 2 * axes), get("strides", [1] * axes)
    dilations = get("dilations", [1] * axes)
    spatial = []
    for axis in range(axes):
        kernel = w[2 + axis] - ONE
        room = x[2 + axis] + Size.of(pads[axis] + pads[axes + axis])
        room = room - kernel * Size.of(dilations[axis]) - ONE
        spatial.append(contents.quotient(room, Size.of(strides[axis])) + ONE)
    return [(x[0], w[0], *spatial)]


def _transpose(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x = shapes.of(node.inputs[0])
    if x is None:
        return [None]
    perm = node.attributes.get_ints("perm", list(range(len(x)))[::-1])
    return [tuple(x[axis] for axis in perm)]


def _reshape(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x, target = shapes.of(node.inputs[0]), shapes.content(node.inputs[1])
    if x is None or target is None:
        return [None]
    sizes = list(target)
    if not node.attributes.get_int("allowzero", 0):
        sizes = [x[i] if s.number == 0 and i < len(x) else s for i, s in enumerate(sizes)]
    open_axes = [i for i, s in enumerate(sizes) if s.number == -1]
    if open_axes:
        sizes[open_axes[0]] = _rest(x, [s for s in sizes if s.number != -1]) or shapes.fresh()
    return [tuple(sizes)]


def _rest(given: Sequence[Size], taken: Sequence[Size]) -> Size | None:
    """The product of some sizes over that of others; equal ones cancel before polynomials do."""
    left = list(given)
    right = []
    for size in taken:
        if size in left:
            left.remove(size)
        else:
            right.append(size)
    return product(left).exact_quotient(product(right))


def _expand(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    target = shapes.content(node.inputs[1])
    # The target first: unlike what is spread, it is rarely one.
    return [None if target is None else broadcast([tuple(target), shapes.of(node.inputs[0])])]


def _axes_of(shapes: Shapes, node: ir.Node, rank: int) -> list[int] | None:
    """Axes as the second input or (before opset 13) an attribute names them."""
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        found = numbers(shapes.content(node.inputs[1]))
    else:
        found = list(node.attributes.get_ints("axes", [])) or None
    return None if found is None else [axis % rank for axis in found]


def _unsqueeze(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x = shapes.of(node.inputs[0])
    count = len(numbers(shapes.content(node.inputs[1])) or ()) if len(node.inputs) > 1 else 0
    axes = None if x is None or not count else _axes_of(shapes, node, len(x) + count)
    if x is None or axes is None:
        return [None]
    rest = iter(x)
    return [tuple(ONE if i in axes else next(rest) for i in range(len(x) + len(axes)))]


def _squeeze(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x = shapes.of(node.inputs[0])
    axes = None if x is None else _axes_of(shapes, node, len(x))
    if x is None or axes is None:
        return [None]
    return [tuple(size for i, size in enumerate(x) if i not in axes)]


def _flatten(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x = shapes.of(node.inputs[0])
    axis = node.attributes.get_int("axis", 1)
    return [None if x is None else (product(x[:axis]), product(x[axis:]))]


def _concat(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    given = [shapes.of(each) for each in node.inputs]
    known = [each for each in given if each is not None]
    if len(known) < len(given) or not known or not known[0]:
        return [None]
    axis = node.attributes.get_int("axis", 0) % len(known[0])
    total = known[0][axis]
    for each in known[1:]:
        total = total + each[axis]
    joined = broadcast([(*each[:axis], *each[axis + 1 :]) for each in known])
    return [None if joined is None else (*joined[:axis], total, *joined[axis:])]


def split_sizes(shapes: Shapes, node: ir.Node) -> tuple[int, list[Size]] | None:
    """The axis of a Split and the size of every output on it."""
    x = shapes.of(node.inputs[0])
    if x is None:
        return None
    axis = node.attributes.get_int("axis", 0) % len(x)
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        stated = shapes.content(node.inputs[1])
        return None if stated is None else (axis, list(stated))
    count, total = len(node.outputs), x[axis].number
    if total is None:
        exact = x[axis].exact_quotient(Size.of(count))
        return None if exact is None else (axis, [exact] * count)
    chunk = -(-total // count)
    return axis, [Size.of(min(chunk, total - chunk * i)) for i in range(count)]


def _split(shapes: Shapes, node: ir.Node) -> list[Shape | None] | None:
    x, found = shapes.of(node.inputs[0]), split_sizes(shapes, node)
    if x is None or found is None:
        return None
    axis, sizes = found
    return [(*x[:axis], size, *x[axis + 1 :]) for size in sizes]


def slice_ranges(
    shapes: Shapes, node: ir.Node
) -> dict[int, tuple[Size | None, Size | None, int | None]] | None:
    """Start, end and step by axis of a Slice, None each where unknown."""
    x = shapes.of(node.inputs[0])
    lists = [shapes.content(each) for each in node.inputs[1:]]
    count = next((each.size for each in lists if each is not None), None)
    if x is None or count is None:
        return None
    stated = numbers(lists[2]) if len(lists) > 2 and node.inputs[3] is not None else [*range(count)]
    steps = numbers(lists[3]) if len(lists) > 3 and node.inputs[4] is not None else [1] * count
    if stated is None:
        return None
    starts, ends = (
        [None] * count if each is None else list(each.reshape(-1)) for each in lists[:2]
    )
    return {
        axis % len(x): (starts[i], ends[i], None if steps is None else steps[i])
        for i, axis in enumerate(stated)
    }


def _slice(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x, ranges = shapes.of(node.inputs[0]), slice_ranges(shapes, node)
    if x is None or ranges is None:
        return [None]
    sizes = list(x)
    for axis, (start, end, step) in ranges.items():
        sizes[axis] = _sliced(x[axis], start, end, step) or shapes.fresh()
    return [tuple(sizes)]


def _sliced(size: Size, start: Size | None, end: Size | None, step: int | None) -> Size | None:
    if start is None or end is None or step is None:
        return None
    numbers_ = (size.number, start.number, end.number)
    if None not in numbers_:
        return Size.of(len(range(*slice(start.number, end.number, step).indices(size.number or 0))))
    if step != 1 or start.number is None:
        return None
    first = start if start.number >= 0 else None
    if first is None:
        return None
    if end.number is not None and end.number >= 2**31 - 1:
        return size - first
    if end.number is not None and end.number < 0:
        return size + end - first
    return size - first if end == size else None


def _gather(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x, indices = shapes.of(node.inputs[0]), shapes.of(node.inputs[1])
    if x is None or indices is None or not x:
        return [None]
    axis = node.attributes.get_int("axis", 0) % len(x)
    return [(*x[:axis], *indices, *x[axis + 1 :])]


def _pad(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x = shapes.of(node.inputs[0])
    pads = pads_of(shapes, node)
    if x is None or pads is None:
        return [None]
    return [
        tuple(
            shapes.fresh() if a is None or b is None else size + a + b
            for size, (a, b) in zip(x, pads, strict=True)
        )
    ]


def pads_of(shapes: Shapes, node: ir.Node) -> list[tuple[Size | None, Size | None]] | None:
    """What a Pad adds before and after, by axis; None each where unknown."""
    x = shapes.of(node.inputs[0])
    stated = shapes.content(node.inputs[1]) if len(node.inputs) > 1 else None
    if x is None or stated is None:
        return None
    axes = list(range(len(x)))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        given = numbers(shapes.content(node.inputs[3]))
        if given is None:
            return None
        axes = [axis % len(x) for axis in given]
    nothing = Size.of(0)
    pads: list[tuple[Size | None, Size | None]] = [(nothing, nothing)] * len(x)
    for index, axis in enumerate(axes):
        pads[axis] = (stated[index], stated[len(axes) + index])
    return pads


def _tile(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x, repeats = shapes.of(node.inputs[0]), shapes.content(node.inputs[1])
    if x is None or repeats is None:
        return [None]
    return [tuple(size * count for size, count in zip(x, repeats, strict=True))]


def reduced_axes(shapes: Shapes, node: ir.Node) -> list[int] | None:
    """The axes that a reduction removes or leaves with size one; None where unknown."""
    x = shapes.of(node.inputs[0])
    if x is None:
        return None
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return _axes_of(shapes, node, len(x))
    stated = list(node.attributes.get_ints("axes", []))
    if not stated and node.attributes.get_int("noop_with_empty_axes", 0) != 0:
        return []
    return [axis % len(x) for axis in stated or range(len(x))]


def _reduce(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    x, axes = shapes.of(node.inputs[0]), reduced_axes(shapes, node)
    if x is None or axes is None:
        return [None]
    if node.attributes.get_int("keepdims", 1):
        return [tuple(ONE if i in axes else size for i, size in enumerate(x))]
    return [tuple(size for i, size in enumerate(x) if i not in axes)]


def _constant_of_shape(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    target = shapes.content(node.inputs[0])
    return [None if target is None else tuple(target)]


def _shape(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    content = shapes.content(node.outputs[0])
    return [None if content is None else (Size.of(content.size),)]


def _range(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    start, limit, delta = (shapes.content(each) for each in node.inputs)
    if start is None or limit is None or numbers(delta) != [1]:
        return [None]
    return [(limit.reshape(-1)[0] - start.reshape(-1)[0],)]


def _einsum(shapes: Shapes, node: ir.Node) -> list[Shape | None]:
    parsed = einsum_labels(node)
    given = [shapes.of(each) for each in node.inputs]
    if parsed is None:
        return [None]
    terms, out = parsed
    sizes: dict[str, Size] = {}
    for term, shape in zip(terms, given, strict=True):
        if shape is None or len(shape) != len(term):
            return [None]
        for label, size in zip(term, shape, strict=True):
            sizes[label] = _broadcast_axis([sizes.get(label, ONE), size])
    return [tuple(sizes[label] for label in out)]


_ELEMENTWISE = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mean", "Sum", "Where", "PRelu", "Mod"),
    *("And", "Or", "Xor", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"),
)
_SAME = (
    *("Abs", "Cast", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "Neg"),
    *("HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Not"),
    *("Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign"),
    *("Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Softmax", "LogSoftmax", "Hardmax"),
    *("LayerNormalization", "RMSNormalization", "BatchNormalization", "InstanceNormalization"),
    *("GroupNormalization", "LpNormalization", "QuantizeLinear", "DequantizeLinear", "CumSum"),
    *("Trilu", "Dropout", "CastLike", "ScatterElements", "ScatterND"),
)
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")

_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Conv": _conv,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Flatten": _flatten,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": lambda shapes, node: [shapes.of(node.inputs[1])],
    "Pad": _pad,
    "Tile": _tile,
    "ConstantOfShape": _constant_of_shape,
    "Shape": _shape,
    "Range": _range,
}
