"""Exports that kept the length of their example are told from those that follow their audio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.session import create_session
from confpress.runtime.validation.lengths import check_lengths
from onnx import helper, numpy_helper

MakeModel = Callable[..., Path]


def check(path: Path) -> None:
    model = AsrModel.load(path)
    check_lengths(model, create_session(model.path))


def keep_frames(path: Path, frames: range) -> Path:
    """The model with frames of its scores taken by stored numbers, as a trace leaves them."""
    model = onnx.load(path)
    graph = model.graph
    scores = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["all" if name == scores else name for name in node.output]
    graph.initializer.append(numpy_helper.from_array(np.array(frames), "kept"))
    graph.node.append(helper.make_node("Gather", ["all", "kept"], [scores], axis=1))
    onnx.save(model, path)
    return path


def test_models_that_follow_their_audio(make_ctc: MakeModel) -> None:
    check(make_ctc("with.onnx"))
    check(make_ctc("without.onnx", lengths=False))
    check(make_ctc("fixed.onnx", frames=200))
    check(make_ctc("batch.onnx", batch=2))


def test_as_many_frames_for_any_length(make_ctc: MakeModel) -> None:
    path = keep_frames(make_ctc(lengths=False), range(50))
    with pytest.raises(ConfpressError, match=r"gives 50 frames for each of 1.5 s and 3 s and 9 s"):
        check(path)


def test_a_length_that_is_too_short(make_ctc: MakeModel) -> None:
    path = keep_frames(make_ctc(lengths=False), range(120))
    with pytest.raises(ConfpressError, match=r"runs on 3 s and 9 s of audio and fails on 1.5 s"):
        check(path)


def test_a_length_that_no_duration_has(make_ctc: MakeModel) -> None:
    path = keep_frames(make_ctc(lengths=False), range(2000))
    with pytest.raises(ConfpressError, match=r"declares any length and fails on 1.5 s"):
        check(path)
