"""Einsum becomes Transpose and MatMul, and computes the same."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.base import run
from confpress.passes.rewrites.layers.einsum import EinsumToMatMul

from ...graphs import difference, operators, parse

SIZES = {"b": 2, "h": 3, "l": 5, "r": 7, "d": 4, "k": 6}


def made(equation: str) -> tuple[str, dict[str, np.ndarray]]:
    first, second, result = equation.replace("->", ",").split(",")
    shapes = [", ".join(str(SIZES[label]) for label in labels) for labels in (first, second)]
    axes = ", ".join(f"o{i}" for i in range(len(result)))
    generator = np.random.default_rng(0)
    feeds = {
        name: generator.standard_normal([SIZES[label] for label in labels]).astype(np.float32)
        for name, labels in (("x", first), ("y", second))
    }
    text = (
        '<ir_version: 10, opset_import: ["": 18]> '
        f"g (float[{shapes[0]}] x, float[{shapes[1]}] y) => (float[{axes}] z) "
        f'{{ z = Einsum <equation = "{equation}"> (x, y) }}'
    )
    return text, feeds


@pytest.mark.parametrize(
    "equation",
    [
        "bhld,lrd->bhlr",  # Shaw: distances of a query
        "lrd,bhld->bhlr",  # the same, the other way round
        "bhld,bhrd->bhlr",
        "bhlr,bhrd->bhld",
        "bld,dk->blk",
        "bld,blk->bdk",  # summed over frames
        "ld,dr->rl",
    ],
)
def test_products_of_matrices(equation: str) -> None:
    text, feeds = made(equation)
    model = parse(text)
    assert len(run([EinsumToMatMul()], model).changes) == 1
    assert set(operators(model)) <= {"Transpose", "MatMul"}
    assert difference(model, parse(text), feeds) < 1e-5


@pytest.mark.parametrize(
    "equation", ["bld,d->bl", "bhl,bdr->br", "bll,ld->bd", "bd,bd->bd", "bld,hdk->bhlk"]
)
def test_others_stay(equation: str) -> None:
    text, _ = made(equation)
    model = parse(text)
    (refusal,) = run([EinsumToMatMul()], model).refusals
    assert "no product of matrices" in refusal.reason
    assert operators(model) == ["Einsum"]
