"""Whether sessions can run on a GPU here."""

from __future__ import annotations

import onnx
from onnx import helper

from ..passes.errors import ConfpressError
from .session import SessionOptions, create_session


def why_no_gpu() -> str | None:
    """Why ONNX Runtime's CUDA provider cannot be used here, in a sentence; None where it can."""
    try:
        create_session(_smallest_model(), SessionOptions(provider="cuda"))
    except ConfpressError as error:
        return str(error)
    return None


def _smallest_model() -> bytes:
    """One operator, so that only the provider can be what fails."""
    value = (onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", *value)],
        [helper.make_tensor_value_info("y", *value)],
    )
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())
