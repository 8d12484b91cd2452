"""Small graphs for the passes' tests, and how to run them exactly as they stand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort

Arrays = Mapping[str, npt.NDArray[np.generic]]


def parse(text: str, **initializers: npt.NDArray[np.generic]) -> ir.Model:
    """A model in ONNX's text format; arrays become the initializers that the text names.

    The text declares them as graph inputs without a type of its own being needed.
    """
    model = ir.from_onnx_text(text)
    for name, array in initializers.items():
        value = next(v for v in model.graph.inputs if v.name == name)
        model.graph.inputs.remove(value)
        value.const_value = ir.tensor(array, name=name)
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
        model.graph.register_initializer(value)
    return model


def evaluate(
    model: ir.Model, feeds: Arrays, library: str | None = None
) -> list[npt.NDArray[np.float32]]:
    """Outputs in ONNX Runtime without graph optimisation, so that only our changes count."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if library is not None:
        options.register_custom_ops_library(library)
    session = ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds)))


def operators(model: ir.Model) -> list[str]:
    """Operator types in graph order."""
    return [node.op_type for node in model.graph]


def difference(left: ir.Model, right: ir.Model, feeds: Arrays) -> float:
    """Largest absolute difference over all outputs."""
    pairs = zip(evaluate(left, feeds), evaluate(right, feeds), strict=True)
    return max(float(np.abs(a - b).max(initial=0)) for a, b in pairs)


def two_layers() -> ir.Model:
    """Two linear layers in a row, `layer1` and `layer3`, on features of 80 mels."""
    random = np.random.default_rng(0)
    model = parse(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[B, 80, T] audio_signal, float[] w1, float[] w2) => (float[B, T, 33] logprobs) {
            x = Transpose <perm = [0, 2, 1]> (audio_signal)
            h = MatMul (x, w1)
            r = Relu (h)
            logprobs = MatMul (r, w2)
        }""",
        w1=random.standard_normal((80, 64)).astype(np.float32),
        w2=random.standard_normal((64, 33)).astype(np.float32),
    )
    for index, node in enumerate(model.graph):
        node.name = f"layer{index}"
    return model
