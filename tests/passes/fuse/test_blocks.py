"""Attention within blocks of frames, with Shaw's positions stored for all pairs of a block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from confpress.passes.fuse.attention import FuseAttention

from ..graphs import evaluate, operators
from .attention_graphs import HEADS, SIZE, WIDTH, attention

BLOCK = 5
INPUTS = """bool[n, 1, 1, 5] mask, float[{vectors}] vectors, float low, int64[1] frames_of_block,
    int64[1] many, int64[3] tail"""
# {turned} is replaced by the tests; the number of blocks comes from sizes outside the attention.
SCORES = """
  k = Transpose <perm = [0, 1, 3, 2]> (k_heads)
  product = MatMul (q_heads, k)
  items = Shape <start = 0, end = 1> (x)
  frames = Shape <start = 1, end = 2> (x)
  in_all = Mul (items, frames)
  cut = Div (in_all, frames_of_block)
  blocks = Mod (cut, many)
  sizes = Concat <axis = 0> (blocks, tail)
  content = Reshape (product, sizes)
  {turned}
  by_distance = MatMul (q4, turned)
  positions = Transpose <perm = [0, 2, 1, 3]> (by_distance)
  shares = Mul (positions, root)
  masked = Where (mask, low, shares)
  scores = Add (content, masked)
"""
TURNED = "turned = Transpose <perm = [0, 2, 1]> (vectors)"
AS_STORED = "turned = Identity (vectors)"
Array = npt.NDArray[np.float32]


def _vectors() -> Array:
    """A vector for every distance, [queries, keys, size]."""
    table = np.random.default_rng(2).standard_normal((2 * BLOCK - 1, SIZE), np.float32)
    frames = np.arange(BLOCK)
    return table[frames - frames[:, None] + BLOCK - 1]


def _model(turned: str, vectors: Array, joined: list[int]) -> ir.Model:
    return attention(
        INPUTS.format(vectors=", ".join(map(str, vectors.shape))),
        SCORES.format(turned=turned),
        split=np.array([-1, BLOCK, HEADS, SIZE]),
        joined=np.array(joined),
        vectors=vectors,
        low=np.array(-1e9, np.float32),
        frames_of_block=np.array([BLOCK]),
        many=np.array([1000]),
        tail=np.array([HEADS, BLOCK, BLOCK]),
    )


@pytest.mark.parametrize("turned", [TURNED, AS_STORED])
@pytest.mark.parametrize(
    ("joined", "sizes"),
    [([2, -1, WIDTH], [(2, 5), (2, 15)]), ([-1, 10, WIDTH], [(1, 10), (3, 10)])],
)
def test_blocks_are_the_batch_of_the_operator(
    turned: str, joined: list[int], sizes: list[tuple[int, int]]
) -> None:
    vectors = _vectors() if turned is TURNED else _vectors().transpose(0, 2, 1)
    original, model = (_model(turned, vectors, joined) for _ in range(2))
    assert FuseAttention()(model).modified
    assert operators(model).count("RelPosAttention") == 1
    assert not {"Softmax", "Where"} & set(operators(model))
    stored = [value.shape for value in model.graph.initializers.values()]
    assert [1, 2 * BLOCK - 1, SIZE] in stored
    assert list(vectors.shape) not in stored
    generator = np.random.default_rng(1)
    for batch, frames in sizes:
        blocks = batch * frames // BLOCK
        feeds = {
            "x": generator.standard_normal((batch, frames, WIDTH), np.float32),
            "mask": generator.random((blocks, 1, 1, BLOCK)) < 0.3,
        }
        (expected,), (y,) = evaluate(original, feeds), evaluate(model, feeds)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_vectors_of_pairs_at_one_distance_must_agree() -> None:
    vectors = _vectors()
    vectors[3, 3] += 1
    (refusal,) = FuseAttention()(_model(TURNED, vectors, [2, -1, WIDTH])).refusals
    assert "stored positions depend on more than the distance of two frames" in refusal.reason
