"""Commands that are asked for CUDA, on machines that have none, and lowering for it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from ..conftest import Confpress, Done


def ok(done: Done) -> str:
    assert done.status == 0, done.err
    return done.out


def refused(done: Done) -> str:
    assert done.status == 1
    (sentence,) = done.err.strip().splitlines()
    return sentence


@pytest.mark.parametrize("command", [["bench"], ["audit"], ["validate", "{model}"]], ids=str)
def test_without_cuda_there_is_one_sentence(
    confpress: Confpress, tiny_ctc: Path, command: list[str]
) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has the cuda provider")
    name, *more = (part.format(model=tiny_ctc) for part in command)
    sentence = refused(confpress(name, tiny_ctc, *more, "--provider", "cuda"))
    assert "has no cuda provider; install onnxruntime-gpu" in sentence


def test_cuda_graphs_need_cuda(confpress: Confpress, tiny_ctc: Path) -> None:
    sentence = refused(confpress("bench", tiny_ctc, "--cuda-graph"))
    assert "CUDA graphs go with the provider cuda" in sentence


def test_lower_for_cuda(confpress: Confpress, tiny_ctc: Path, tmp_path: Path) -> None:
    out, record = tmp_path / "cuda.onnx", tmp_path / "record.json"
    arguments = ["--target", "cuda", "--least-db", "20", "--json", record]
    printed = ok(confpress("lower", tiny_ctc, "-o", out, *arguments))
    assert "operators in float16" in printed
    assert json.loads(record.read_text())["changes"]
    types = {tensor.data_type for tensor in onnx.load(out).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    # The CPU provider runs it too.
    ok(confpress("validate", tiny_ctc, out))


def test_options_of_cuda_need_its_target(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path
) -> None:
    sentence = refused(confpress("lower", tiny_ctc, "-o", tmp_path / "out.onnx", "--sparse"))
    assert "go with --target cuda" in sentence
