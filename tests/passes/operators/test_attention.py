"""The bodies of attention against their definition, score by score."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.attention import RELATIVE, attention_function, attention_node

from ..attention_cases import AttentionCase
from ..quant_layers import session

CASES = (
    AttentionCase(1, 5, 5, 2, 3),
    AttentionCase(2, 4, 4, 2, 3, "full", packed=True),
    AttentionCase(2, 4, 4, 1, 5, "full", uniform=True),
    AttentionCase(3, 1, 1, 2, 4, "keys"),
    AttentionCase(2, 1, 6, 2, 4, "keys"),
    AttentionCase(2, 3, 7, 2, 4, "full", tables=2),
    AttentionCase(2, 3, 5, 3, 4, shared=True),
    AttentionCase(1, 5, 5, 2, 3, tables=0),
    AttentionCase(2, 4, 4, 2, 3, "full", packed=True, tables=0),
    AttentionCase(2, 3, 7, 1, 4, "full", uniform=True, tables=0),
    AttentionCase(2, 3, 7, 2, 4, "full", tables=0, bias="full"),
    AttentionCase(2, 5, 5, 3, 4, packed=True, tables=0, bias="heads"),
    AttentionCase(2, 4, 6, 2, 4, uniform=True, tables=0, bias="keys"),
)
#: Of float32 sums of a dozen terms of order 1.
TOLERANCE = 2e-6


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("opset", [17, 21])
def test_body_is_the_definition(case: AttentionCase, opset: int) -> None:
    model = case.model(opset)
    onnx.checker.check_model(model)
    feeds = case.feeds()
    (y,) = session(model).run(["y"], feeds)
    np.testing.assert_allclose(y, case.expected(feeds), rtol=0, atol=TOLERANCE)


def test_queries_without_keys() -> None:
    for uniform in (False, True):
        case = AttentionCase(1, 3, 3, 1, 2, "full", uniform=uniform)
        feeds = case.feeds()
        (y,) = session(case.model()).run(["y"], feeds)
        average = feeds["v"][0, :, 2:4].mean(axis=0)
        np.testing.assert_allclose(y[0, 0], average if uniform else [0, 0], rtol=0, atol=1e-6)


def test_refusals_are_sentences() -> None:
    with pytest.raises(ConfpressError, match="needs opset 15"):
        attention_function(RELATIVE, 14)
    with pytest.raises(ConfpressError, match="up to 256 features"):
        attention_node([], shape=(1, 257), columns=(0, 0, 0, 0), scale=1.0)
