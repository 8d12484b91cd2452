"""Position tables: sines are computed, others are trimmed or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.attention.positions import MAX_FRAMES_KEY, Positions, fit_sinusoid
from confpress.passes.rewrites.simplify import Simplify
from onnx_ir.passes.common import ShapeInferencePass

from tests.passes.graphs import difference, evaluate, operators, parse

CENTRED = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, d] x, float[1, rows, columns] table) => (float[1, p, columns] y)
{
  shape = Shape <start = 1, end = 2> (x)
  middle = Constant <value_ints = [300]> ()
  one = Constant <value_ints = [1]> ()
  begin = Sub (middle, shape)
  after = Add (middle, shape)
  end = Sub (after, one)
  y = Slice (table, begin, end, one)
}"""


def sines(
    rows: int, columns: int, first: int, step: int, *, interleaved: bool = True
) -> npt.NDArray[np.float32]:
    """A table in float32 arithmetic, as torch computes it."""
    positions = (first + step * np.arange(rows, dtype=np.float32))[:, None]
    rates = np.exp(
        np.arange(0, columns, 2, dtype=np.float32) * np.float32(-np.log(10000.0) / columns)
    )
    angles = (positions * rates).astype(np.float32)
    if interleaved:
        return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(rows, columns)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


@pytest.mark.parametrize(
    ("first", "step", "interleaved"),
    [(299, -1, True), (-299, 1, True), (0, 1, True), (0, 1, False), (299, -1, False)],
)
def test_formula_of_a_table_is_found(first: int, step: int, interleaved: bool) -> None:
    formula = fit_sinusoid(sines(599, 64, first, step, interleaved=interleaved))
    assert formula is not None
    assert (formula.first, formula.step, formula.interleaved) == (first, step, interleaved)


def test_a_learned_table_has_no_formula() -> None:
    table = sines(599, 64, 299, -1)
    table[17, 5] += 1e-4
    assert fit_sinusoid(table) is None


@pytest.mark.parametrize("frames", [1, 7, 150, 300])
def test_rows_are_computed(frames: int) -> None:
    table = sines(599, 64, 299, -1)[None]
    model, original = parse(CENTRED, table=table), parse(CENTRED, table=table)
    result = Positions()(model)
    assert len(result.changes) == 1 and not result.refusals
    assert "Slice" not in operators(model) and "Sin" in operators(model)
    assert sum(v.const_value.nbytes for v in model.graph.initializers.values()) < 500
    feeds = {"x": np.zeros((1, frames, 8), np.float32)}
    assert difference(model, original, feeds) <= 1e-6


def test_a_learned_table_is_refused_with_a_way_out() -> None:
    table = np.random.default_rng(0).standard_normal((1, 599, 64)).astype(np.float32)
    model = parse(CENTRED, table=table)
    result = Positions()(model)
    assert not result.modified
    assert "trim" in result.refusals[0].reason


def test_trimmed_table_serves_up_to_the_stated_length() -> None:
    table = np.random.default_rng(0).standard_normal((1, 599, 64)).astype(np.float32)
    model, original = parse(CENTRED, table=table), parse(CENTRED, table=table)
    result = Positions(mode="trim", max_frames=100)(model)
    assert result.modified
    assert model.metadata_props[MAX_FRAMES_KEY] == "100"
    for frames in (1, 64, 100):
        feeds = {"x": np.zeros((1, frames, 8), np.float32)}
        assert difference(model, original, feeds) == 0
    stored = max(v.const_value.nbytes for v in model.graph.initializers.values())
    assert stored == 199 * 64 * 4


@pytest.mark.parametrize("mode", ["compute", "trim"])
def test_bounds_may_be_narrow_integers(mode: Literal["compute", "trim"]) -> None:
    text = CENTRED.replace("middle =", "wide =").replace(
        "begin = Sub (middle, shape)",
        """middle = Cast <to = 6> (wide)
  frames = Cast <to = 6> (shape)
  unit = Constant <value = int32[1] {1}> ()
  begin = Sub (middle, frames)""",
    )
    text = text.replace("(middle, shape)", "(middle, frames)").replace("after, one", "after, unit")
    text = text.replace("end, one", "end, unit")
    table = sines(599, 64, 299, -1)[None]
    original = ShapeInferencePass()(parse(text, table=table)).model
    model = original.clone()
    assert Positions(mode=mode, max_frames=100)(model).modified
    assert difference(model, original, {"x": np.zeros((1, 9, 8), np.float32)}) <= 1e-6


def test_a_slice_from_the_end_is_left_alone() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 21]>
    net (int64[1] n, float[1, rows, columns] table) => (float[1, p, columns] y)
    {
      begin = Constant <value_ints = [-20]> ()
      end = Constant <value_ints = [9223372036854775807]> ()
      one = Constant <value_ints = [1]> ()
      y = Slice (table, begin, end, one)
    }"""
    model = parse(text, table=sines(599, 64, 299, -1)[None])
    before = evaluate(model, {"n": np.array([1])})
    result = Positions()(model)
    assert "from the table's end" in result.refusals[0].reason
    assert np.array_equal(before[0], evaluate(model, {"n": np.array([1])})[0])


def test_trim_needs_a_length() -> None:
    with pytest.raises(ValueError, match="max_frames"):
        Positions(mode="trim")


def test_shared_model_loses_its_seven_megabytes(nemo_model: Path) -> None:
    model = ir.load(nemo_model)
    Simplify()(model)
    result = Positions()(model)
    assert [c.what for c in result.changes] == ["table of 7,039,296 bytes computed in the graph"]
