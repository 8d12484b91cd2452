"""What is said of a stage that is not lossless."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.optimizer.proof import advice

from tests.passes.graphs import parse


@pytest.mark.parametrize(
    ("kind", "dtype", "said"),
    [("float16", np.float16, "export it in float32"), ("float", np.float32, "report this")],
)
def test_models_in_float16_are_told_to_be_exported_in_float32(
    kind: str, dtype: type[np.floating], said: str
) -> None:
    model = parse(
        f"""
        <ir_version: 10, opset_import: ["": 21]>
        net ({kind}[b, 4] x, {kind}[4, 4] w) => ({kind}[b, 4] y) {{ y = MatMul (x, w) }}""",
        w=np.ones((4, 4), dtype),
    )
    assert said in advice(model)
