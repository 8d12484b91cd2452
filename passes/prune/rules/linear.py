"""Matrix products: MatMul, Gemm and Einsum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...rewrites.layers.einsum import einsum_labels
from ..facts import Facts, fact_rule
from ..known import Fact, contract, only_axis
from ..links import Contraction, Product
from ..wiring import Wiring, link_rule
from .elementwise import tie_broadcast


@fact_rule("MatMul")
def _matmul(facts: Facts, node: ir.Node) -> list[Fact | None]:
    x, w = facts.or_unknown(node.inputs[0]), facts.or_unknown(node.inputs[1])
    if x is None or w is None or x.ndim < 2 or w.ndim < 2:
        return [None]
    matrix = facts.constant(node.inputs[1])
    if matrix is not None and matrix.ndim == 2:
        row = only_axis(x, -1, matrix.shape[0])
        return [contract(row, matrix).reshape((1,) * (x.ndim - 1) + (-1,))]
    return [_product_of_activations(x, w)]


def _product_of_activations(x: Fact, w: Fact) -> Fact:
    """Zero where one factor of every term is zero; anything else is unknown."""
    left, right = x == 0, w == 0
    zero = left.all(axis=-1, keepdims=True) | right.all(axis=-2, keepdims=True)
    if left.shape[-2] == right.shape[-1] == 1:
        terms = left | np.swapaxes(right, -1, -2)
        zero = zero | terms.all(axis=-1, keepdims=True)
    return np.where(zero, 0.0, np.nan)


@fact_rule("Gemm")
def _gemm(facts: Facts, node: ir.Node) -> list[Fact | None]:
    matrix = _gemm_matrix(facts, node)
    if matrix is None or node.attributes.get_int("transA", 0) != 0:
        return [None]
    found = contract(only_axis(facts.of(node.inputs[0]), -1, matrix.shape[0]), matrix)
    found = found * node.attributes.get_float("alpha", 1.0)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = facts.or_unknown(node.inputs[2])
        if bias is None:
            return [None]
        row = only_axis(bias.reshape((1,) * (2 - bias.ndim) + bias.shape), -1, found.size)
        found = found + node.attributes.get_float("beta", 1.0) * row
    return [found.reshape(1, -1)]


def _gemm_matrix(facts: Facts, node: ir.Node) -> npt.NDArray[Any] | None:
    matrix = facts.constant(node.inputs[1])
    if matrix is None or matrix.ndim != 2:
        return None
    return matrix.T if node.attributes.get_int("transB", 0) else matrix


@link_rule("MatMul")
def _link_matmul(wiring: Wiring, node: ir.Node) -> None:
    x, w = (wiring.shapes.of(each) for each in node.inputs)
    if x is None or w is None or len(x) < 2 or len(w) < 2:
        return
    for index in (0, 1):
        tie_broadcast(wiring, node, index, skip=2)
    wiring.tie(wiring.input(node, 0, -2), wiring.output(node, -2))
    wiring.tie(wiring.input(node, 1, -1), wiring.output(node, -1))
    matrix = wiring.facts.constant(node.inputs[1])
    _link_sum(wiring, node, -1, -2, matrix if matrix is not None and matrix.ndim == 2 else None)


@link_rule("Gemm")
def _link_gemm(wiring: Wiring, node: ir.Node) -> None:
    a = 1 if node.attributes.get_int("transA", 0) else 0
    b = 1 if node.attributes.get_int("transB", 0) else 0
    wiring.tie(wiring.input(node, 0, a), wiring.output(node, 0))
    wiring.tie(wiring.input(node, 1, 1 - b), wiring.output(node, 1))
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        tie_broadcast(wiring, node, 2)
    _link_sum(wiring, node, 1 - a, b, _gemm_matrix(wiring.facts, node))


def _link_sum(
    wiring: Wiring, node: ir.Node, left: int, right: int, matrix: npt.NDArray[Any] | None
) -> None:
    """The axis that a product sums over.

    Args:
        wiring: Takes the link.
        node: MatMul or Gemm.
        left: The axis in the first input.
        right: The axis in the second.
        matrix: The second input [inputs, outputs], if it is a constant matrix.
    """
    x, w = wiring.input(node, 0, left), wiring.input(node, 1, right)
    if x is None or w is None:
        return
    size = wiring.sizes[x]
    if matrix is not None:
        known = only_axis(wiring.facts.of(node.inputs[0]), left, size)
        wiring.add(Contraction(node, x, w, wiring.output(node, -1), _reader(wiring, node), known))
        return
    zero = np.zeros(size, bool)
    for value, axis in ((node.inputs[0], left), (node.inputs[1], right)):
        zero |= only_axis(wiring.facts.of(value), axis, size) == 0
    wiring.add(Product(x, w, zero))


def _reader(wiring: Wiring, node: ir.Node) -> Callable[[], npt.NDArray[Any]]:
    """Reads the weight when it is asked for; what has to be computed is computed once."""
    weight, turned = node.inputs[1], node.attributes.get_int("transB", 0) != 0
    if weight is None or weight.const_value is None:
        found = wiring.facts.constant(weight)
        used = np.asarray(found != 0)
        return lambda: used.T if turned else used
    stored = weight.const_value
    return lambda: stored.numpy().T if turned else stored.numpy()


@fact_rule("Einsum")
def _einsum(facts: Facts, node: ir.Node) -> list[Fact | None]:
    """Zero along an axis of the output where a factor is zero along it."""
    parsed = einsum_labels(node)
    shape = facts.shapes.of(node.outputs[0])
    if parsed is None or shape is None:
        return [None]
    terms, out = parsed
    zero = np.zeros((1,) * len(out), bool)
    for value, labels in zip(node.inputs, terms, strict=True):
        fact = facts.of(value)
        if fact is None or fact.ndim != len(labels):
            continue
        nothing = fact == 0
        summed = tuple(i for i, label in enumerate(labels) if label not in out)
        nothing = nothing.all(axis=summed, keepdims=True)
        order = [i for i, label in enumerate(labels) if label in out]
        target = [1] * len(out)
        for i in order:
            target[out.index(labels[i])] = nothing.shape[i]
        by_out = sorted(order, key=lambda i, names=labels: out.index(names[i]))  # type: ignore[misc]
        moved = nothing.transpose([*by_out, *summed])
        zero = zero | moved.reshape(target)
    return [np.where(zero, 0.0, np.nan)]


@link_rule("Einsum")
def _link_einsum(wiring: Wiring, node: ir.Node) -> None:
    parsed = einsum_labels(node)
    if parsed is None:
        return
    terms, out = parsed
    for label in sorted(set("".join(terms))):
        axes = [
            wiring.input(node, i, term.index(label))
            for i, term in enumerate(terms)
            if label in term
        ]
        if any(axis is None for axis in axes):
            continue
        present = [axis for axis in axes if axis is not None]
        if label in out:
            for axis in present:
                wiring.tie(axis, wiring.output(node, out.index(label)))
        elif len(present) == 2:
            zero = np.zeros(wiring.sizes[present[0]], bool)
            for i, term in enumerate(terms):
                if label in term:
                    fact = wiring.facts.of(node.inputs[i])
                    zero |= only_axis(fact, term.index(label), zero.size) == 0
            wiring.add(Product(present[0], present[1], zero))
