"""Attention becomes its twin in bfloat16."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from confpress.passes.lower.bfloat16_attention import BFloat16Attention

from ..attention_cases import AttentionCase
from ..quant_layers import session

CASES = [
    AttentionCase(2, 40, 40, 2, 16, "keys"),
    AttentionCase(2, 20, 50, 2, 16, tables=0),
    AttentionCase(1, 30, 30, 2, 16, tables=0, bias="full"),
]


def _rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("opset", [17, 18, 21])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operator)
def test_the_twin_rounds_and_is_nothing_else(case: AttentionCase, opset: int) -> None:
    model = ir.from_proto(case.model(opset))
    original = ir.to_proto(model)
    result = BFloat16Attention()(model)
    assert [change.what for change in result.changes] == ["attention multiplies in bfloat16"]
    assert not result.refusals
    assert [f.name for f in model.functions.values()] == [f"{case.operator}BFloat16"]
    onnx.checker.check_model(ir.to_proto(model))
    feeds = case.feeds()
    before = session(original).run(["y"], feeds)[0]
    after = session(ir.to_proto(model)).run(["y"], feeds)[0]
    assert 2**-13 < _rms(after, before) < 2**-8


def test_a_second_run_and_a_model_without_attention_are_refused() -> None:
    model = ir.from_proto(CASES[0].model())
    BFloat16Attention()(model)
    result = BFloat16Attention()(model)
    assert not result.changes
    assert "only the operators that the fusion `attention` makes" in result.refusals[0].reason
