"""Self-attention in every spelling, and why others are refused."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.structure import Kind, Module, Position, recognise

from .graphs import (
    ATTENTION,
    ATTENTION_INPUTS,
    ATTENTION_WEIGHTS,
    HEADS,
    SIZE,
    D,
    make,
    reasons,
    recognise_one,
    replaced,
)

WEIGHTS = ATTENTION_WEIGHTS | {
    "wqkv": (D, 3 * D), "wkv": (D, 2 * D), "table": (20, SIZE), "distances": np.zeros((5, 5), int),
    "bias": (20, HEADS), "cos": (1, 1, 5, SIZE), "sin": (1, 1, 5, SIZE), "zero3": [0], "two": [2],
    "folded": (1, HEADS, SIZE, 9), "half": 0.5, "wother": (D, D), "thirds": [D, D, D],
    "halves": [D, D],
}  # fmt: skip

#: Attention without positions.
PLAIN = replaced(
    ATTENTION,
    ("sum = Add (ac, bd)", ""),
    ("Div (sum, root)", "Div (ac, root)"),
    *[
        (line, "")
        for line in ATTENTION.splitlines()
        if line.strip().startswith(("p0", "p1", "p =", "bd", "padded", "shape", "sizes", "keys"))
        or line.strip().startswith(("qv", "qv0"))
    ],
)


def build(body: str, *pairs: tuple[str, str], inputs: str = ATTENTION_INPUTS, **options: object):
    return make(replaced(body, *pairs), WEIGHTS, inputs=inputs, **options)


def one(body: str, *pairs: tuple[str, str], **options: object) -> Module:
    module = recognise_one(build(body, *pairs, **options))
    assert module.kind is Kind.SELF_ATTENTION
    return module


def test_relative_positions() -> None:
    module = one(ATTENTION)
    attention = module.attention
    assert (attention.heads, attention.head_size) == (HEADS, SIZE)
    assert attention.position is Position.RELATIVE
    assert [v.name for v in attention.position_values] == ["pos"]
    assert attention.position_layer is not None
    weights = {
        "linear_q": "wq", "linear_k": "wk", "linear_v": "wv", "linear_pos": "wp",
        "linear_out": "wo",
    }  # fmt: skip
    assert {m.id.rpartition(".")[2]: m.weight.name for m in module.linears} == weights
    assert attention.query.weight.name == "wq"
    assert attention.query.bias is not None
    assert attention.key.weight.name == "wk"
    assert attention.value.weight.name == "wv"
    assert attention.out.weight.name == "wo"


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([("sum = Add (ac, bd)", "sum = Add (bd, ac)")], id="other order"),
        pytest.param(
            [("sum = Add (ac, bd)", "bdm = Where (mask, low, bd)  sum = Add (ac, bdm)")],
            id="mask before the sum",
        ),
        pytest.param(
            [("c0 = MatMul (weights, vt)",
              "w = Where (mask, zerof, weights)  c0 = MatMul (w, vt)")],
            id="mask after Softmax",
        ),
        pytest.param(
            [("c0 = MatMul (weights, vt)",
              "nan = IsNaN (weights)  w = Where (nan, zerof, weights)  c0 = MatMul (w, vt)")],
            id="NaN guard",
        ),
        pytest.param(
            [("scaled = Div (sum, root)", "scaled = Identity (sum)"),
             ("ac = MatMul (qu, k)", "qs = Mul (qu, half)  ac = MatMul (qs, k)")],
            id="scale on queries",
        ),
        pytest.param(
            [("qu0 = Add (q2, u)\n", ""), ("(qu0)", "(q2)"), ("qu =", "qt ="),
             ("ac = MatMul (qu, k)", "ut = Unsqueeze (u, one)  qu = Add (qt, ut)"
                                     "  ac = MatMul (qu, k)")],
            id="bias after Transpose",
        ),
        pytest.param([("bd = Slice (bd3, zero, keys, three)", "bd = Identity (bd0)"),],
                     id="no shift"),
    ],
)  # fmt: skip
def test_spellings_of_relative_attention(pairs: list[tuple[str, str]]) -> None:
    weights = WEIGHTS | {"zerof": 0.0}
    module = recognise_one(make(replaced(ATTENTION, *pairs), weights, inputs=ATTENTION_INPUTS))
    attention = module.attention
    assert attention.position is Position.RELATIVE
    assert (attention.heads, attention.head_size) == (HEADS, SIZE)
    assert attention.position_layer is not None
    assert attention.position_layer.weight.name == "wp"


def test_a_projected_table_may_be_folded() -> None:
    module = one(
        ATTENTION,
        ("p0 = MatMul (pos, wp)", ""),
        ("p1 = Reshape (p0, split)", ""),
        ("p = Transpose <perm = [0, 2, 3, 1]> (p1)", ""),
        ("MatMul (qv, p)", "MatMul (qv, folded)"),
    )
    assert module.attention.position is Position.RELATIVE
    assert module.attention.position_layer is None
    assert [v.name for v in module.attention.position_values] == ["folded"]


@pytest.mark.parametrize(
    ("layer", "pairs"),
    [
        ("linear_qkv", [
            ("q0 = MatMul (n, wq)", "all = MatMul (n, wqkv)"
             "  q0, k0, v0 = Split <axis = -1> (all, thirds)"),
            ("k0 = MatMul (n, wk)", ""), ("v0 = MatMul (n, wv)", ""),
        ]),
        ("linear_kv", [
            ("k0 = MatMul (n, wk)", "all = MatMul (n, wkv)"
             "  k0, v0 = Split <axis = -1> (all, halves)"),
            ("v0 = MatMul (n, wv)", ""),
        ]),
    ],
)  # fmt: skip
def test_packed_projections(layer: str, pairs: list[tuple[str, str]]) -> None:
    module = one(PLAIN, *pairs)
    assert layer in [linear.id.rpartition(".")[2] for linear in module.linears]
    assert module.attention.key is module.attention.value
    assert (module.attention.heads, module.attention.head_size) == (HEADS, SIZE)


def test_no_positions() -> None:
    attention = one(PLAIN).attention
    assert attention.position is Position.NONE
    assert attention.position_values == ()


@pytest.mark.parametrize(
    "product",
    [
        'bd = Einsum <equation = "bhld,lrd->bhlr"> (qt, looked)',
        "turned1 = Transpose <perm = [0, 2, 1]> (looked)"
        "  by_frame = Transpose <perm = [2, 0, 1, 3]> (qt)  flat = Reshape (by_frame, flattened)"
        "  bd4 = MatMul (flat, turned1)  unfolded0 = Reshape (bd4, unfolded)"
        "  bd = Transpose <perm = [1, 2, 0, 3]> (unfolded0)",
    ],
)
def test_shaw(product: str) -> None:
    body = replaced(
        PLAIN,
        ("ac = MatMul (qu, k)",
         "qt = Transpose <perm = [0, 2, 1, 3]> (q2)  looked = Gather (table, distances)"
         f"  {product}  ac = MatMul (qu, k)  sum = Add (ac, bd)"),
        ("Div (ac, root)", "Div (sum, root)"),
    )  # fmt: skip
    weights = WEIGHTS | {"flattened": [0, -1, SIZE], "unfolded": [0, -1, HEADS, 5]}
    attention = recognise_one(make(body, weights, inputs=ATTENTION_INPUTS, infer=False)).attention
    assert attention.position is Position.SHAW
    assert [v.name for v in attention.position_values] == ["looked"]


def test_bias() -> None:
    module = one(
        PLAIN,
        ("scaled = Div (ac, root)",
         "looked = Gather (bias, distances)  moved = Transpose <perm = [2, 0, 1]> (looked)"
         "  sum = Add (ac, moved)  scaled = Div (sum, root)"),
        infer=False,
    )  # fmt: skip
    assert module.attention.position is Position.BIAS
    assert [v.name for v in module.attention.position_values] == ["looked"]


ROTATED = """
  first = Slice (q4, zero, two, three)
  second = Slice (q4, two, four, three)
  negated = Neg (second)
  turned_q = Concat <axis = -1> (negated, first)
  by_cos = Mul (q4, cos)
  by_sin = Mul (sin, turned_q)
  qu = Add (by_cos, by_sin)
"""


def test_rotary() -> None:
    body = replaced(
        PLAIN,
        ("qu0 = Add (q2, u)", ""),
        ("qu = Transpose <perm = [0, 2, 1, 3]> (qu0)",
         "q4 = Transpose <perm = [0, 2, 1, 3]> (q2)" + ROTATED),
    )  # fmt: skip
    attention = recognise_one(make(body, WEIGHTS, inputs=ATTENTION_INPUTS, infer=False)).attention
    assert attention.position is Position.ROTARY
    assert {v.name for v in attention.position_values} == {"cos", "sin"}


def test_rotary_as_one_node() -> None:
    body = replaced(
        PLAIN,
        ("ac = MatMul (qu, k)",
         "r = RotaryEmbedding (qu, cosines, sines)  ac = MatMul (r, k)"),
    )  # fmt: skip
    weights = WEIGHTS | {"cosines": (5, SIZE // 2), "sines": (5, SIZE // 2)}
    model = make(body, weights, inputs=ATTENTION_INPUTS, opset=23, infer=False)
    attention = recognise_one(model).attention
    assert attention.position is Position.ROTARY
    assert [v.name for v in attention.position_values] == ["cosines", "sines"]


def test_attention_as_one_node_takes_relative_scores_as_its_mask() -> None:
    body = replaced(
        ATTENTION,
        ("ac = MatMul (qu, k)", "kt = Transpose <perm = [0, 1, 3, 2]> (k)"),
        ("sizes = Shape (ac)\n", "sizes = Shape (bd0)\n"),
        ("sum = Add (ac, bd)", "added = Where (mask, low, bd)"),
        ("scaled = Div (sum, root)", ""),
        ("masked = Where (mask, low, scaled)", ""),
        ("weights = Softmax <axis = -1> (masked)", ""),
        ("c0 = MatMul (weights, vt)", "c0 = Attention (qu, kt, vt, added)"),
    )
    model = make(body, WEIGHTS, inputs=ATTENTION_INPUTS, opset=23, infer=False)
    attention = recognise_one(model).attention
    assert attention.softmax.op_type == "Attention"
    assert attention.position is Position.RELATIVE
    assert (attention.heads, attention.head_size) == (HEADS, SIZE)


def test_the_head_size_without_shapes() -> None:
    assert one(PLAIN, infer=False).attention.head_size == SIZE
    computed = [
        ("k1 = Reshape (k0, split)", "k1 = Reshape (k0, sizes4)"),
        ("q2 = Reshape (q1, split)",
         "dims = Shape (n)  start = Slice (dims, zero, two)"
         "  sizes4 = Concat <axis = 0> (start, zero, heads, rest)  q2 = Reshape (q1, sizes4)"),
    ]  # fmt: skip
    weights = WEIGHTS | {"heads": [HEADS], "rest": [-1]}
    body = replaced(PLAIN, *computed)
    model = make(body, weights, inputs=ATTENTION_INPUTS, infer=False)
    assert recognise_one(model).attention.head_size == SIZE


@pytest.mark.parametrize(
    ("reason", "pairs"),
    [
        ("its queries come from 2 linear layers",
         [("q1 = Add (q0, bq)", "q9 = MatMul (n, wother)  q8 = Relu (q0)  q1 = Mul (q8, q9)")]),
        ("its keys come from",
         [("k0 = MatMul (n, wk)", "k0 = Identity (n)")]),
        ("which does not read the stream: this is attention to something else",
         [("k0 = MatMul (n, wk)", "k7 = MatMul (pos, wk)  k0 = Add (k7, zeroed)"),
          ("v0 = MatMul (n, wv)", "v0 = MatMul (pos, wv)"),
          ("q1 = Add (q0, bq)", "q1 = Add (q0, bq)  zeroed = ReduceMean (n)")]),
        ("no linear layer follows the averaged values",
         [("o0 = MatMul (c, wo)", "lost = MatMul (n, wo)  o0 = Add (c, lost)")]),
        ("no product of activations takes what its Softmax puts out",
         [("c0 = MatMul (weights, vt)", "w0 = ReduceMean <keepdims = 1> (weights)"
           "  c0 = Mul (vt, w0)")]),
        ("it holds 2 Softmaxes",
         [("masked = Where (mask, low, scaled)", "masked = Softmax (scaled)")]),
        ("no multiple of the head size 3",
         [("q2 = Reshape (q1, split)", "q9 = Reshape (q1, three_wide)  q2 = Identity (q9)"),
          ("k1 = Reshape (k0, split)", "k1 = Reshape (k0, three_wide)")]),
        ("its Softmax weighs no values",
         [("c0 = MatMul (weights, vt)", "c0 = Identity (weights)"),
          ("ac = MatMul (qu, k)", "ac = Identity (qu)")]),
    ],
)  # fmt: skip
def test_refusals_say_why(reason: str, pairs: list[tuple[str, str]]) -> None:
    weights = WEIGHTS | {"three_wide": [0, 0, -1, 3]}
    model = make(replaced(PLAIN, *pairs), weights, inputs=ATTENTION_INPUTS, infer=False)
    assert reason in reasons(model)
    assert recognise(model).modules == ()


def test_two_tables_of_positions_are_refused() -> None:
    model = build(
        ATTENTION,
        ("sum = Add (ac, bd)", "bd9 = MatMul (qv, folded)  sum0 = Add (ac, bd)"
         "  sum = Add (sum0, bd9)"),
        infer=False,
    )  # fmt: skip
    assert "2 products of queries and tables of positions" in reasons(model)


def test_the_unknown_head_size_is_refused() -> None:
    model = build(
        PLAIN,
        ("q2 = Reshape (q1, split)", "q2 = Reshape (q1, given)"),
        ("k1 = Reshape (k0, split)", "k1 = Reshape (k0, given)"),
        inputs=ATTENTION_INPUTS + ", int64[4] given",
        infer=False,
    )
    assert "run shape inference first" in reasons(model)
    for value in (v for n in model.graph for v in n.outputs):
        if value.name in ("qu", "k"):
            sizes = (None, HEADS, None, None)
            value.shape = ir.Shape(sizes)
    assert recognise_one(model).attention.heads == HEADS
