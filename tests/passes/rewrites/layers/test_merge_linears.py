"""Linear layers of one input are computed in one product."""

from __future__ import annotations

import numpy as np
from confpress.passes.base import LAYER_KEY
from confpress.passes.rewrites.layers.merge_linears import MergeLinears, merged_id

from tests.passes.graphs import difference, operators, parse

RANDOM = np.random.default_rng(0)
THREE = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 8] x, float[8, 4] q, float[8, 4] k, float[8, 6] v, float[4] a, float[4] c,
     float[6] d) => (float[b, t, 4] y1, float[b, t, 4] y2, float[b, t, 6] y3)
{
  p1 = MatMul (x, q)  y1 = Add (p1, a)
  p2 = MatMul (x, k)  y2 = Add (c, p2)
  p3 = MatMul (x, v)  y3 = Add (p3, d)
}"""


def arrays() -> dict[str, np.ndarray]:
    shapes = {"q": (8, 4), "k": (8, 4), "v": (8, 6), "a": (4,), "c": (4,), "d": (6,)}
    return {n: RANDOM.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def test_three_become_one() -> None:
    weights = arrays()
    model, original = parse(THREE, **weights), parse(THREE, **weights)
    for node, name in zip((n for n in model.graph if n.op_type == "MatMul"), "qkv", strict=True):
        node.metadata_props[LAYER_KEY] = f"layers.0.self_attn.linear_{name}"
    assert MergeLinears()(model).modified
    assert operators(model) == ["MatMul", "Add", "Split"]
    assert [o.name for o in model.graph.outputs] == ["y1", "y2", "y3"]
    (product,) = (n for n in model.graph if n.op_type == "MatMul")
    assert product.metadata_props[LAYER_KEY] == "layers.0.self_attn.linear_q+linear_k+linear_v"
    feeds = {"x": RANDOM.standard_normal((2, 5, 8)).astype(np.float32)}
    assert difference(model, original, feeds) < 1e-6


def test_large_groups_are_refused() -> None:
    model = parse(THREE, **arrays())
    result = MergeLinears(most=2)(model)
    assert not result.modified
    assert "3 layers" in result.refusals[0].reason


def test_layers_of_a_stored_table_are_left_to_the_runtime() -> None:
    model = parse(
        THREE.replace("[b, t, 8]", "[1, 9, 8]"), x=np.ones((1, 9, 8), np.float32), **arrays()
    )
    assert not MergeLinears()(model).modified


def test_ids_of_different_modules_are_joined_whole() -> None:
    assert merged_id(["a.x", "b.y"]) == "a.x+b.y"
