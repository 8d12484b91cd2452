"""Runs on bound memory, as on a GPU but in the CPU's memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.bound import bound_call
from confpress.runtime.session import create_session

FEEDS = {
    "features": np.random.default_rng(0).standard_normal((1, 80, 40)).astype(np.float32),
    "length": np.array([40], np.int64),
}


def test_a_bound_call_runs_again_and_again(tiny_ctc: Path) -> None:
    call = bound_call(create_session(tiny_ctc), FEEDS, device="cpu")
    call()
    call()


def test_inputs_that_do_not_fit_are_named(tiny_ctc: Path) -> None:
    wrong = {**FEEDS, "features": np.zeros((1, 79, 20), np.float32)}
    with pytest.raises(ConfpressError, match=r"features \[1, 79, 20\]"):
        bound_call(create_session(tiny_ctc), wrong, device="cpu")
