"""Sizes that shapes tell become constants."""

from __future__ import annotations

import numpy as np
from confpress.passes.rewrites.known_sizes import KnownSizes
from confpress.passes.rewrites.simplify import Simplify

from ..graphs import difference, operators, parse

TEXT = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 8] x, float[24, 8] all) => (float[b, t, 8] y, int64 n)
<int64 last = {-1}, int64 first = {0}, int64[1] zero = {0}> {
  s = Shape (x)
  width = Gather (s, last)
  n = Gather (s, first)
  end = Unsqueeze (width, zero)
  rows = Slice (all, zero, end)
  w = Transpose <perm = [1, 0]> (rows)
  y = MatMul (x, w)
}"""
ALL = np.random.default_rng(0).standard_normal((24, 8)).astype(np.float32)


def test_a_known_size_and_one_that_varies() -> None:
    model = parse(TEXT, all=ALL)
    assert len(KnownSizes()(model).changes) == 1
    assert operators(model).count("Gather") == 1


def test_weights_that_are_cut_by_it_are_folded() -> None:
    model, original = parse(TEXT, all=ALL), parse(TEXT, all=ALL)
    Simplify()(model)
    assert sorted(operators(model)) == ["Gather", "MatMul", "Shape"]
    x = np.random.default_rng(1).standard_normal((2, 5, 8)).astype(np.float32)
    assert difference(model, original, {"x": x}) == 0
