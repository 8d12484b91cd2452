"""Positions that are not shifted join the keys, and the outputs stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.base import run
from confpress.passes.fuse.attention import FuseAttention
from confpress.passes.rewrites.attention.key_positions import KeyPositions
from confpress.passes.rewrites.attention.score_sizes import ScoreSizes
from confpress.passes.rewrites.sizes.shapes import infer_shapes
from confpress.passes.structure import Position

from ...graphs import difference, operators
from ...structure.graphs import (
    ATTENTION,
    ATTENTION_INPUTS,
    ATTENTION_WEIGHTS,
    HEADS,
    SIZE,
    D,
    make,
    recognise_one,
    replaced,
)

SHIFT = ("padded", "shape", "bd1", "bd2", "bd3", "sizes", "keys", "bd =")
#: Without the shift, as WeNet has it, with a mask cut to the frames of scores.
UNSHIFTED = replaced(
    "\n".join(line for line in ATTENTION.splitlines() if not line.strip().startswith(SHIFT)),
    ("Add (ac, bd)", "Add (bd0, ac)"),
    ("masked = Where (mask", "sizes = Shape (scaled)  all = Slice (sizes, three, last, zero)"
     "  cut = Slice (mask, zero, all, three)  masked = Where (cut"),
)  # fmt: skip
CACHED = [
    ("k = Transpose <perm = [0, 2, 3, 1]> (k1)",
     "k2 = Transpose <perm = [0, 2, 1, 3]> (k1)  k3 = Concat <axis = 2> (cache, k2)"
     "  k = Transpose <perm = [0, 1, 3, 2]> (k3)"),
    ("vt = Transpose <perm = [0, 2, 1, 3]> (v1)",
     "v2 = Transpose <perm = [0, 2, 1, 3]> (v1)  vt = Concat <axis = 2> (cache, v2)"),
]  # fmt: skip

#: Of x, positions, mask and cache.
SIZES_OF_ONE_FRAME = ((2, 1, D), (1, 2, D), (2, 1, 1, 2), (2, HEADS, 1, SIZE))


def build(*pairs: tuple[str, str], body: str = UNSHIFTED) -> ir.Model:
    inputs = ATTENTION_INPUTS.replace("[B,1,1,T]", "[B,1,1,M]")
    cache = f"{inputs}, float[B,{HEADS},C,{SIZE}] cache"
    made = replaced(body, *pairs)
    model = make(made, ATTENTION_WEIGHTS, inputs=cache if "cache" in made else inputs)
    infer_shapes(model)
    return model


def feeds(past: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {
        "x": random.standard_normal((2, 5, D)).astype(np.float32),
        "pos": random.standard_normal((1, 5 + past, D)).astype(np.float32),
        "mask": np.arange(7 + past) >= np.array([5 + past, 3])[:, None, None, None],
    }
    cache = random.standard_normal((2, HEADS, past, SIZE)).astype(np.float32)
    return arrays | ({"cache": cache} if past else {})


@pytest.mark.parametrize(
    ("pairs", "past"),
    [
        pytest.param([], 0, id="divided"),
        pytest.param([("Div (sum, root)", "Mul (root, sum)")], 0, id="multiplied"),
        pytest.param([("Div (sum, root)", "Identity (sum)")], 0, id="no scale"),
        pytest.param(CACHED, 3, id="behind a cache"),
        pytest.param([("q1 = Add (q0, bq)", "q1 = Identity (q0)")], 0, id="no bias of queries"),
    ],
)
def test_one_product_computes_what_two_did(pairs: list[tuple[str, str]], past: int) -> None:
    model, original = build(*pairs), build(*pairs)
    result = run([ScoreSizes(), KeyPositions()], model)
    assert "join the keys" in result.changes[-1].what
    assert operators(model).count("MatMul") == operators(original).count("MatMul") - 1
    assert recognise_one(model).attention.position is Position.KEY
    assert difference(model, original, feeds(past)) < 1e-5


def test_unscaled_scores_that_are_an_output_stay_unscaled() -> None:
    model = build()
    model.graph.outputs.append(
        next(n for n in model.graph if n.outputs[0].name == "sum").outputs[0]
    )
    original = model.clone()
    assert run([KeyPositions()], model).modified
    assert difference(model, original, feeds()) < 1e-5


@pytest.mark.parametrize("read", ["q1", "q2"])
def test_queries_that_others_read_stay_what_they_are(read: str) -> None:
    model = build()
    model.graph.outputs.append(next(n for n in model.graph if n.outputs[0].name == read).outputs[0])
    original = model.clone()
    assert run([KeyPositions()], model).modified
    assert difference(model, original, feeds()) < 1e-5


def test_keys_by_head_may_be_as_many_as_heads() -> None:
    """One frame behind one of a cache, of a model that has no other size."""
    model = build(*CACHED)
    for value, sizes in zip(model.graph.inputs, SIZES_OF_ONE_FRAME, strict=True):
        value.shape = ir.Shape(sizes)
    infer_shapes(model)
    original = model.clone()
    assert run([KeyPositions()], model).modified
    arrays = {
        value.name: np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
        for value, sizes in zip(model.graph.inputs, SIZES_OF_ONE_FRAME, strict=True)
    }
    assert difference(model, original, arrays | {"mask": np.zeros((2, 1, 1, 2), bool)}) < 1e-5


@pytest.mark.parametrize("past", [0, 3])
def test_the_rest_becomes_one_operator(past: int) -> None:
    model, original = build(*(CACHED if past else [])), build(*(CACHED if past else []))
    run([ScoreSizes(), KeyPositions()], model)
    result = run([FuseAttention()], model)
    assert not result.refusals
    assert "BiasedAttention" in operators(model)
    assert "Softmax" not in operators(model)
    # Nothing computes scores for their size alone.
    assert operators(model).count("MatMul") == operators(original).count("MatMul") - 3
    assert difference(model, original, feeds(past)) < 1e-5


def test_shifted_positions_stay() -> None:
    result = run([KeyPositions()], build(body=ATTENTION))
    assert not result.modified
    assert not result.refusals


def test_queries_of_another_kind_are_refused() -> None:
    model = build(("qv0 = Add (q2, v)", "q3 = Relu (q2)  qv0 = Add (q3, v)"))
    (refusal,) = run([KeyPositions()], model).refusals
    assert "one projection with two biases" in refusal.reason


def test_without_the_rewrite_the_refusal_says_what_is_amiss() -> None:
    (refusal,) = run([FuseAttention()], build()).refusals
    assert "one for each of queries + keys - 1 distances" in refusal.reason
