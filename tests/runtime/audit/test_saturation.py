"""Saturating sums, counted as vpmaddubsw would meet them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.lower.portable import LowerPortable
from confpress.passes.quantize import Quantize
from confpress.passes.seven_bits import SevenBits
from confpress.runtime.audit.saturation import rounded_to_bytes, saturated_sums, saturations
from confpress.runtime.model_file import load_model
from onnx.reference import ReferenceEvaluator

from tests.passes.graphs import parse

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("k", [6, 7])
def test_sums_beyond_16_bits_are_counted(k: int) -> None:
    inputs = RANDOM.integers(0, 256, (50, k)).astype(np.int32)
    weight = RANDOM.integers(-128, 128, (k, 9)).astype(np.int8)
    beyond = 0
    for row in inputs:
        for column in weight.T.astype(int):
            for start in range(0, k - 1, 2):
                both = int(row[start] * column[start] + row[start + 1] * column[start + 1])
                beyond += not -32768 <= both <= 32767
    assert beyond > 0
    assert saturated_sums(inputs, weight) == beyond
    assert saturated_sums(inputs, np.clip(weight, -64, 64)) == 0


def test_inputs_are_rounded_as_dynamic_quantize_linear_does() -> None:
    model = parse(
        """<ir_version: 10, opset_import: ["": 21]>
        g (float[T, K] x) => (uint8[T, K] y) { y, s, z = DynamicQuantizeLinear (x) }"""
    )

    x = RANDOM.standard_normal((20, 30)).astype(np.float32) + 1
    (expected,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_array_equal(rounded_to_bytes(x), expected)


def test_seven_bits_leave_nothing_to_saturate(tiny_ctc: Path) -> None:
    features = [RANDOM.standard_normal((80, 60)).astype(np.float32) for _ in range(2)]
    counted = {}
    for bits in (8, 7):
        model = load_model(tiny_ctc)
        passes = [Quantize(convolution="float32"), *([SevenBits()] if bits == 7 else [])]
        for each in (*passes, LowerPortable()):
            each(model)
        counted[bits] = saturations(model, features)
    assert [each.id for each in counted[7]] == [each.id for each in counted[8]]
    assert all(each.sums > 0 for each in counted[8])
    assert sum(each.saturated for each in counted[7]) == 0
