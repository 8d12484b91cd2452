from __future__ import annotations

import numpy as np
import onnx
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.activated import activation_of
from confpress.passes.operators.sparselinear import BLOCK, WINDOW
from confpress.passes.operators.sparselinear_uneven import (
    FAMILY,
    look_ups_of,
    pack_uneven,
    slots_of,
    uneven_function,
)
from hypothesis import given
from hypothesis import strategies as st

from ..quant_layers import activated, run, session
from ..sparse_layers import UnevenLayer


@given(st.integers(1, 40), st.integers(1, 150), st.sampled_from([WINDOW, BLOCK]), st.integers(0, 9))
def test_slots_hold_every_weight_once(n: int, k: int, span: int, seed: int) -> None:
    codes = UnevenLayer.random(n, k, span, seed=seed).codes
    packed, columns, blocks = pack_uneven(codes, span)
    assert packed.shape == columns.shape == (-(-n // 16), len(blocks), 16, 4)
    assert len(blocks) == max(1, slots_of(codes, span).sum())
    assert (np.diff(blocks) >= 0).all()
    absolute = columns.astype(np.int64) + BLOCK * blocks[:, None, None].astype(np.int64)
    places = absolute.transpose(0, 2, 1, 3).reshape(-1, 4 * len(blocks))
    assert all(len(set(row)) == len(row) for row in places)
    dense = np.zeros((len(places), -(-k // BLOCK) * BLOCK), np.int8)
    np.put_along_axis(dense, places, packed.transpose(0, 2, 1, 3).reshape(places.shape), axis=1)
    np.testing.assert_array_equal(dense[:n, :k], codes)


def test_a_slot_lies_in_one_window() -> None:
    _, columns, _ = pack_uneven(UnevenLayer.random(33, 200, WINDOW).codes)
    windows = columns // WINDOW
    assert (windows == windows[:1, :, :1, :1]).all()


def test_slots_are_what_the_fullest_row_needs() -> None:
    weight = np.zeros((3, 70), np.int8)
    weight[1, 16:21], weight[2, 69] = 1, 1
    assert slots_of(weight).tolist() == [0, 2, 0, 0, 1]
    assert slots_of(weight, BLOCK).tolist() == [2, 1]
    assert look_ups_of(weight) == pytest.approx(3 * 64 / 70)


@pytest.mark.parametrize("span", [WINDOW, BLOCK])
@pytest.mark.parametrize(("opset", "activation"), [(15, ""), (17, "gelu"), (21, "relu")])
def test_body_is_the_definition(opset: int, activation: str, span: int) -> None:
    layer = UnevenLayer.random(33, 163, span)
    model = layer.model(activation, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).standard_normal((9, 163)).astype(np.float32)
    expected = activated(activation, layer.linear(x))
    assert np.abs(run(session(model), x) - expected).max() < 1e-6 * np.abs(expected).max()


def test_names_and_errors() -> None:
    for name, activation in activation_of(FAMILY).items():
        assert uneven_function(activation).name == name
    with pytest.raises(ConfpressError, match="non-empty int8 matrix"):
        pack_uneven(np.zeros((3, 4), np.float32))
