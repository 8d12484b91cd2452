from __future__ import annotations

import onnx_ir as ir
import pytest
from confpress.passes.structure.macs import macs_of
from confpress.passes.structure.shapes import shapes_at

from .graphs import D, make

WEIGHTS = {
    "w": (D, 6), "wc": (12, D // 4, 3), "b": (6,), "halve": [0, -1, 2 * D],
    "zero": [0], "many": [2**40], "one": [1],
}  # fmt: skip


def macs(body: str, batch: int = 2, frames: int = 10, **options: object) -> list[int | None]:
    model = make(body, WEIGHTS, infer=False, **options)
    shapes = shapes_at(model, {"x": (batch, frames, D)})
    return [macs_of(node, shapes) for node in model.graph]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = MatMul (x, w)", [2 * 10 * D * 6]),
        ("t = Transpose <perm = [0, 2, 1]> (x)  y = MatMul (x, t)", [0, 2 * 10 * 10 * D]),
        ("t = Transpose <perm = [0, 2, 1]> (x)  y = Conv <group = 4> (t, wc)",
         [0, 2 * 12 * 8 * (D // 4) * 3]),
        ("t = Transpose <perm = [0, 2, 1]> (x)  y = Conv <group = 4, strides = [2]> (t, wc)",
         [0, 2 * 12 * 4 * (D // 4) * 3]),
        ('y = Einsum <equation = "b i d, b j d -> b i j"> (x, x)', [2 * 10 * 10 * D]),
        ("y = Relu (x)", [0]),
        # Sizes computed in the graph.
        ("r = Reshape (x, halve)  t = Transpose <perm = [0, 2, 1]> (r)  y = MatMul (r, t)",
         [0, 0, 2 * 5 * 5 * 2 * D]),
        ("s = Shape (x)  n = Slice (s, one, many)  z = ConstantOfShape (n)  y = MatMul (x, z)",
         [0, 0, 0, None]),
    ],
)  # fmt: skip
def test_counts(body: str, expected: list[int | None]) -> None:
    if expected[-1] is None:
        with_wrong_rank = macs(body)
        assert with_wrong_rank[-1] is None
    else:
        assert macs(body) == expected


def test_gemm() -> None:
    model = make("y = Gemm (x, w, b)", WEIGHTS, inputs=f"float[N,{D}] x", outputs="float[N,6] y")
    (node,) = model.graph
    assert macs_of(node, shapes_at(model, {"x": (7, D)})) == 7 * D * 6


def test_attention_as_one_node() -> None:
    model = make("y = Attention (x, x, x)", opset=23, infer=False)
    (node,) = model.graph
    shape = (2, 3, 10, 4)
    assert macs_of(node, {"x": shape, "y": shape}) == 2 * (2 * 3 * 10 * 10 * 4)


def test_the_model_is_left_as_it_was() -> None:
    model = make("s = Shape (x)  y = Reshape (x, s)")
    before = [n.op_type for n in model.graph]
    shapes = shapes_at(model, {"x": (3, 5, D)})
    assert shapes["y"] == (3, 5, D)
    assert [n.op_type for n in model.graph] == before
    assert model.graph.inputs[0].shape == ir.Shape(["B", "T", D])


def test_masks_of_older_opsets_hide_no_sizes() -> None:
    body = (
        "m = GreaterOrEqual (x, x)  c = Where (m, x, x)  t = Transpose <perm = [0, 2, 1]> (c)"
        "  y = MatMul (c, t)"
    )
    assert macs(body, opset=13)[-1] == 2 * 10 * 10 * D
