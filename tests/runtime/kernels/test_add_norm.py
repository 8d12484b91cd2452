"""The kernels of AddNorm and AddNormNorm against their bodies, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from ...passes.norm_cases import NormCase
from ...passes.quant_layers import session

SHAPES = ((1, 1), (5, 3), (2, 17, 176), (33, 16), (1, 2, 3, 65), (3, 1025))
#: Norms of values of order 5 with a mean of 2, in float32.
TOLERANCE = 2e-5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norms", [1, 2])
def test_kernel_is_its_body(library: str, shape: tuple[int, ...], norms: int) -> None:
    case = NormCase(shape, norms, scale=1.0 if norms == 2 else 0.5)
    model, feeds = case.model(), case.feeds()
    found = session(model, library).run(None, feeds)
    for y, body, expected in zip(
        found, session(model).run(None, feeds), case.expected(feeds), strict=True
    ):
        np.testing.assert_allclose(y, body, rtol=1e-5, atol=TOLERANCE)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=TOLERANCE)


def test_a_large_mean_does_not_drown_the_deviation(library: str) -> None:
    case = NormCase((4, 176))
    feeds = case.feeds()
    feeds["stream"] += 1000
    (_, y), (_, expected) = session(case.model(), library).run(None, feeds), case.expected(feeds)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-3)


def test_equal_values_and_not_a_number(library: str) -> None:
    case = NormCase((3, 20), scale=0.0)
    feeds = case.feeds()
    feeds["stream"][0] = 7
    feeds["stream"][1, 4] = np.nan
    _, y = session(case.model(), library).run(None, feeds)
    np.testing.assert_allclose(y[0], feeds["bias"], rtol=0, atol=1e-3)
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[2]).all()


def test_threads_do_not_change_a_bit(library: str) -> None:
    case = NormCase((2, 77, 176), 2)
    model, feeds = case.model(), case.feeds()
    alone = session(model, library).run(None, feeds)
    for threads in (2, 3):
        for y, expected in zip(
            session(model, library, threads).run(None, feeds), alone, strict=True
        ):
            np.testing.assert_array_equal(y, expected)


def test_no_frames(library: str) -> None:
    case = NormCase((2, 0, 5))
    for y in session(case.model(), library).run(None, case.feeds()):
        assert y.shape == (2, 0, 5)


def test_malformed_inputs_are_sentences(library: str) -> None:
    case = NormCase((2, 3, 5))
    feeds = case.feeds()
    with pytest.raises(Exception, match=r"shapes \[2, 3, 5\] and \[1, 3, 5\] where they must"):
        session(case.model(), library).run(None, feeds | {"branch": feeds["branch"][:1]})
    with pytest.raises(Exception, match=r"where they must be \[5\]"):
        session(case.model(), library).run(None, feeds | {"bias": feeds["bias"][:4]})
