"""Divergence of scores: what counts and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.optimizer.formats.divergence import log_softmax, steady_divergence

QUIET = log_softmax(np.zeros((40, 4), np.float32))
NOISY = np.log(np.tile([0.3, 0.25, 0.25, 0.2], (40, 1)))


def test_it_is_the_divergence_of_frames() -> None:
    expected = (0.25 * np.log(0.25 / np.array([0.3, 0.25, 0.25, 0.2]))).sum()
    assert steady_divergence([QUIET], [NOISY]) == pytest.approx(expected)
    assert steady_divergence([QUIET], [QUIET]) == 0


def test_one_frame_that_jumps_does_not_decide() -> None:
    jumps = NOISY.copy()
    jumps[7] = [-30.0, -30.0, -30.0, 0.0]
    assert steady_divergence([QUIET], [jumps]) == pytest.approx(steady_divergence([QUIET], [NOISY]))


def test_frames_of_all_utterances_count_together() -> None:
    halves = [NOISY[:20], QUIET[:20]]
    whole = steady_divergence([np.concatenate([QUIET[:20], QUIET[:20]])], [np.concatenate(halves)])
    assert steady_divergence([QUIET[:20], QUIET[:20]], halves) == pytest.approx(whole)
