"""Weights stored in 16 bits: what each type keeps."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from confpress.passes.format_choice import approximated
from confpress.passes.format_plan import LayerFormat
from confpress.passes.formats import HALVES, stored_half


@pytest.mark.parametrize("kind", HALVES)
def test_values_out_of_range_become_the_largest(kind: str) -> None:
    most = np.finfo(np.float32).max
    found = stored_half(np.array([-most, 0, 1, most], np.float32), kind).astype(np.float32)
    largest = float(ml_dtypes.finfo(HALVES[kind]).max)
    np.testing.assert_array_equal(found, np.array([-largest, 0, 1, largest], np.float32))


@pytest.mark.parametrize(
    ("size", "better"), [(1.0, "float16"), (1e6, "bfloat16"), (1e-9, "bfloat16")]
)
def test_the_better_half_depends_on_the_range(size: float, better: str) -> None:
    weight = size * np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
    errors = {
        kind: np.square(approximated(weight, LayerFormat(weight=kind)) - weight).sum()
        for kind in HALVES
    }
    assert min(errors, key=lambda kind: float(errors[kind])) == better
    # Seven bits behind the point, rounded to nearest.
    bound = 2.0**-8 * np.abs(weight)
    assert (np.abs(approximated(weight, LayerFormat(weight="bfloat16")) - weight) <= bound).all()
