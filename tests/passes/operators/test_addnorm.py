"""The bodies of AddNorm and AddNormNorm against their definition."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.addnorm import add_norm_function

from ..norm_cases import NormCase
from ..quant_layers import session


@pytest.mark.parametrize("norms", [1, 2])
@pytest.mark.parametrize("opset", [17, 21])
def test_body_is_the_definition(norms: int, opset: int) -> None:
    case = NormCase((2, 3, 7), norms)
    model = case.model(opset)
    onnx.checker.check_model(model)
    feeds = case.feeds()
    for y, expected in zip(session(model).run(None, feeds), case.expected(feeds), strict=True):
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5)


def test_old_opsets_are_refused() -> None:
    with pytest.raises(ConfpressError, match="AddNormNorm needs opset 17"):
        add_norm_function(2, 16)
