"""How fast this machine multiplies when nothing holds it up: what profiles are held to."""

from __future__ import annotations

import time

import numpy as np
import onnx
import onnx_ir as ir
from pydantic import Field

from ..record import Record
from ..session import SessionOptions, create_session

# Weights that stay in a core's second cache, frames enough to use every register.
_FRAMES, _WIDTH = 256, 512
_RUNS = 60
_MACS = _FRAMES * _WIDTH * _WIDTH

_FLOAT32 = f"""
<ir_version: 8, opset_import: ["": 17]>
peak (float[{_FRAMES}, {_WIDTH}] x, float[{_WIDTH}, {_WIDTH}] w) => (float[{_FRAMES}, {_WIDTH}] y)
{{ y = MatMul (x, w) }}"""
_INT8 = f"""
<ir_version: 8, opset_import: ["": 17]>
peak (uint8[{_FRAMES}, {_WIDTH}] x, int8[{_WIDTH}, {_WIDTH}] w) => (int32[{_FRAMES}, {_WIDTH}] y)
{{ y = MatMulInteger (x, w) }}"""


class Peak(Record):
    """Multiply-accumulates a second of a dense product that fits the cache, the best of many."""

    float32: float = Field(description="float32, by ONNX Runtime's MatMul")
    int8: float = Field(description="uint8 times int8, by ONNX Runtime's MatMulInteger")


def measure_peak(threads: int = 1) -> Peak:
    """Measures both products, which takes about a second.

    Args:
        threads: Threads of the session.
    """
    random = np.random.default_rng(0)
    weight = random.standard_normal((_WIDTH, _WIDTH)).astype(np.float32)
    codes = random.integers(-127, 128, (_WIDTH, _WIDTH), np.int8)
    frames = random.standard_normal((_FRAMES, _WIDTH)).astype(np.float32)
    return Peak(
        float32=_rate(_FLOAT32, weight, frames, threads),
        int8=_rate(_INT8, codes, random.integers(0, 256, frames.shape, np.uint8), threads),
    )


def _rate(text: str, weight: np.ndarray, frames: np.ndarray, threads: int) -> float:
    model: ir.Model = ir.from_proto(onnx.parser.parse_model(text))
    constant = model.graph.inputs.pop()
    constant.const_value = ir.tensor(weight, name="w")
    model.graph.register_initializer(constant)
    session = create_session(model, SessionOptions(threads=threads))
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        session.run(None, {"x": frames})
        times.append(time.perf_counter() - start)
    return _MACS / min(times)
