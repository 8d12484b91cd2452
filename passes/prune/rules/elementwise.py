"""Operators whose output at a place depends on the inputs at the same place, after broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy import special

from ..facts import Facts, fact_rule
from ..known import Fact, apply, multiply
from ..wiring import Wiring, link_rule

Array = npt.NDArray[Any]


def _sigmoid(x: Array) -> Array:
    return np.asarray(special.expit(x))


def _gelu(x: Array) -> Array:
    return np.asarray(x * special.ndtr(x))


def _gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


_UNARY: dict[str, Callable[[Array], Array]] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Erf": special.erf,
    "Exp": np.exp,
    "Floor": np.floor,
    "Identity": lambda x: x,
    "Log": np.log,
    "Mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "Neg": np.negative,
    "Reciprocal": lambda x: 1 / x,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": _sigmoid,
    "Sign": np.sign,
    "Sin": np.sin,
    "Softplus": lambda x: np.logaddexp(0, x),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}
#: Element-wise, of one tensor, with no arithmetic of ours: a place is known only if it was one of
#: those that the function below keeps at zero.
_ZERO_TO_ZERO = ("Elu", "Celu", "Selu", "LeakyRelu", "HardSwish", "ThresholdedRelu")
_BINARY: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Pow": np.power,
    "Max": lambda *x: np.max(np.broadcast_arrays(*x), axis=0),
    "Min": lambda *x: np.min(np.broadcast_arrays(*x), axis=0),
    "Sum": lambda *x: np.sum(np.broadcast_arrays(*x), axis=0),
}


def _is_float(node: ir.Node) -> bool:
    kind = node.outputs[0].dtype
    return kind is None or kind.is_floating_point()


def _known_inputs(facts: Facts, node: ir.Node) -> list[Fact] | None:
    given = [facts.or_unknown(each) for each in node.inputs]
    known = [each for each in given if each is not None]
    return known if len(known) == len(given) else None


def _elementwise(function: Callable[..., Array]) -> Callable[[Facts, ir.Node], list[Fact | None]]:
    def rule(facts: Facts, node: ir.Node) -> list[Fact | None]:
        given = _known_inputs(facts, node)
        return [apply(function, given) if given and _is_float(node) else None]

    return rule


for _name, _function in (*_UNARY.items(), *_BINARY.items()):
    fact_rule(_name)(_elementwise(_function))


@fact_rule(*_ZERO_TO_ZERO)
def _zero_to_zero(facts: Facts, node: ir.Node) -> list[Fact | None]:
    given = facts.of(node.inputs[0])
    return [None if given is None else np.where(given == 0, 0.0, np.nan)]


@fact_rule("Gelu")
def _gelu_rule(facts: Facts, node: ir.Node) -> list[Fact | None]:
    given = facts.of(node.inputs[0])
    tanh = node.attributes.get_string("approximate", "none") == "tanh"
    return [None if given is None else apply(_gelu_tanh if tanh else _gelu, [given])]


@fact_rule("Swish")
def _swish(facts: Facts, node: ir.Node) -> list[Fact | None]:
    given, alpha = facts.of(node.inputs[0]), node.attributes.get_float("alpha", 1.0)
    return [None if given is None else apply(lambda x: x * _sigmoid(alpha * x), [given])]


@fact_rule("HardSigmoid")
def _hard_sigmoid(facts: Facts, node: ir.Node) -> list[Fact | None]:
    given = facts.of(node.inputs[0])
    alpha, beta = (node.attributes.get_float(n, d) for n, d in (("alpha", 0.2), ("beta", 0.5)))
    return [None if given is None else apply(lambda x: np.clip(alpha * x + beta, 0, 1), [given])]


@fact_rule("Mul")
def _mul(facts: Facts, node: ir.Node) -> list[Fact | None]:
    given = _known_inputs(facts, node)
    return [multiply(*given) if given and _is_float(node) else None]


@fact_rule("Div")
def _div(facts: Facts, node: ir.Node) -> list[Fact | None]:
    """Zero over anything is zero; the divisor is not zero where the result is finite."""
    given = _known_inputs(facts, node)
    if not given or not _is_float(node):
        return [None]
    with np.errstate(all="ignore"):
        inverse = 1 / given[1].astype(np.float64)
    return [multiply(given[0], np.where(np.isfinite(inverse), inverse, np.nan))]


@fact_rule("Clip")
def _clip(facts: Facts, node: ir.Node) -> list[Fact | None]:
    given = facts.of(node.inputs[0])
    bounds: list[float] = []
    for index, open_end in ((1, -np.inf), (2, np.inf)):
        value = node.inputs[index] if index < len(node.inputs) else None
        bound = np.array(open_end) if value is None else facts.constant(value)
        if bound is None or bound.size != 1:
            return [None]
        bounds.append(float(bound.reshape(-1)[0]))
    return [
        None
        if given is None
        else apply(lambda x: np.minimum(np.maximum(x, bounds[0]), bounds[1]), [given])
    ]


@fact_rule("Cast")
def _cast(facts: Facts, node: ir.Node) -> list[Fact | None]:
    source, kind = node.inputs[0], node.outputs[0].dtype
    floats = source is not None and source.dtype is not None and source.dtype.is_floating_point()
    return [facts.of(source) if floats and kind is not None and kind.is_floating_point() else None]


@fact_rule("Where")
def _where(facts: Facts, node: ir.Node) -> list[Fact | None]:
    condition = facts.constant(node.inputs[0])
    left, right = facts.or_unknown(node.inputs[1]), facts.or_unknown(node.inputs[2])
    if left is None or right is None or not _is_float(node):
        return [None]
    if condition is not None:
        return [np.where(condition, left, right)]
    rank = facts.shapes.of(node.outputs[0])
    found = np.where(left == right, left, np.nan)
    return [found.reshape((1,) * (len(rank or ()) - found.ndim) + found.shape)]


@link_rule(
    *_UNARY, *_BINARY, *_ZERO_TO_ZERO, "Gelu", "Swish", "HardSigmoid", "Mul", "Div", "Clip",
    "Cast", "Where", "PRelu", "Mod", "And", "Or", "Xor", "Not", "Equal", "Less", "LessOrEqual",
    "Greater", "GreaterOrEqual", "IsNaN", "IsInf", "Round",
)  # fmt: skip
def tie_elementwise(wiring: Wiring, node: ir.Node) -> None:
    """Every axis of the output is tied to that of each input that is not spread over it."""
    for index in range(len(node.inputs)):
        tie_broadcast(wiring, node, index)


def tie_broadcast(wiring: Wiring, node: ir.Node, index: int, skip: int = 0) -> None:
    """Ties the axes of one input to those of the output, the last ``skip`` left out."""
    shape, out = wiring.shapes.of(node.inputs[index]), wiring.shapes.of(node.outputs[0])
    if shape is None or out is None:
        return
    for back in range(skip + 1, len(out) + 1):
        target = wiring.output(node, -back)
        if back > len(shape) or shape[-back].number == 1:
            continue
        if shape[-back].number is None:
            wiring.stay(target, f"'{node.name}' may spread an input of unknown size over it")
        wiring.tie(wiring.input(node, index, -back), target)
