"""The body of ConvModule against its definition, tap by tap."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.convmodule import conv_module_function

from ..conv_cases import ConvCase
from ..quant_layers import session

CASES = (
    ConvCase(1, 7, 3, 5),
    ConvCase(2, 6, 4, 3, "frames", "silu"),
    ConvCase(2, 5, 2, 3, "shared", "silu", causal=True),
    ConvCase(1, 1, 3, 31, gate_first=True),
)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("opset", [17, 21])
def test_body_is_the_definition(case: ConvCase, opset: int) -> None:
    model = case.model(opset)
    onnx.checker.check_model(model)
    feeds = case.feeds()
    (y,) = session(model).run(["y"], feeds)
    np.testing.assert_allclose(y, case.expected(feeds), rtol=0, atol=1e-5)


def test_old_opsets_are_refused() -> None:
    with pytest.raises(ConfpressError, match="ConvModuleSiLU needs opset 15"):
        conv_module_function("silu", 14)
