"""Gemm becomes MatMul and Add, and computes the same."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.base import run
from confpress.passes.quantize import Quantize
from confpress.passes.rewrites.layers.gemm import GemmToMatMul

from ...graphs import difference, operators, parse

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((7, 64)).astype(np.float32)
W = GENERATOR.standard_normal((64, 48)).astype(np.float32)
B = GENERATOR.standard_normal(48).astype(np.float32)


def model_text(attributes: str, inputs: str = "x, w, b") -> str:
    return (
        '<ir_version: 10, opset_import: ["": 21]> '
        "g (float[n, 64] x, float[k, n] w, float[m] b) => (float[n, 48] y) "
        f"{{ y = Gemm {attributes} ({inputs}) }}"
    )


@pytest.mark.parametrize(
    ("attributes", "inputs", "weight", "written"),
    [
        ("<transB = 1>", "x, w, b", W.T, ["MatMul", "Add"]),
        ("<transB = 0, alpha = 0.5>", "x, w, b", W, ["MatMul", "Add"]),
        ("<transB = 0>", "x, w", W, ["MatMul"]),
    ],
)
def test_written_as_matmul(
    attributes: str, inputs: str, weight: np.ndarray, written: list[str]
) -> None:
    def made() -> ir.Model:
        return parse(model_text(attributes, inputs), w=np.ascontiguousarray(weight), b=B)

    model = made()
    assert len(run([GemmToMatMul()], model).changes) == 1
    assert operators(model) == written
    assert difference(model, made(), {"x": X}) < 1e-5
    assert run([Quantize()], model).changes  # and its weights may now be int8


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [("<transA = 1>", "turns its rows"), ("<beta = 0.5>", "scales what it adds")],
)
def test_others_stay(attributes: str, reason: str) -> None:
    model = parse(model_text(attributes), w=W, b=B)
    (refusal,) = run([GemmToMatMul()], model).refusals
    assert reason in refusal.reason
    assert operators(model) == ["Gemm"]
