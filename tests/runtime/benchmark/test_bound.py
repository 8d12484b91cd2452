"""Runs on bound memory, as on a GPU but in the CPU's memory."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.benchmark.bound import bound_call
from confpress.runtime.session import create_session

FEEDS = {
    "features": np.random.default_rng(0).standard_normal((1, 80, 40)).astype(np.float32),
    "length": np.array([40], np.int64),
}


def test_a_bound_call_runs_again_and_again(tiny_ctc: Path) -> None:
    call = bound_call(create_session(tiny_ctc), FEEDS, device="cpu")
    call()
    call()


def test_every_thread_writes_to_outputs_of_its_own(
    tiny_ctc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = create_session(tiny_ctc)
    made: list[ort.IOBinding] = []
    bind = session.io_binding
    monkeypatch.setattr(session, "io_binding", lambda: made.append(bind()) or made[-1])
    call = bound_call(session, FEEDS, device="cpu")
    call()
    thread = threading.Thread(target=lambda: (call(), call()))
    thread.start()
    thread.join()
    first, second = (each.get_outputs()[0] for each in made)
    assert first.data_ptr() != second.data_ptr()
    np.testing.assert_array_equal(first.numpy(), second.numpy())


def test_inputs_that_do_not_fit_are_named(tiny_ctc: Path) -> None:
    wrong = {**FEEDS, "features": np.zeros((1, 79, 20), np.float32)}
    with pytest.raises(ConfpressError, match=r"features \[1, 79, 20\]"):
        bound_call(create_session(tiny_ctc), wrong, device="cpu")
