from __future__ import annotations

import numpy as np
import onnx
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.activated import activation_of
from confpress.passes.operators.sparselinear_float import (
    FAMILY,
    WEIGHT_TYPES,
    kept_of,
    pack_sparse_float,
    sparse_float_function,
)

from ..quant_layers import activated, run, session
from ..sparse_float_layers import SparseFloatLayer


@pytest.mark.parametrize("dtype", WEIGHT_TYPES, ids=str)
@pytest.mark.parametrize(("opset", "activation"), [(15, ""), (17, "gelu"), (21, "relu")])
def test_body_is_the_definition(opset: int, activation: str, dtype: np.dtype) -> None:
    layer = SparseFloatLayer.random(33, 130, 7).stored(dtype)
    model = layer.model(activation, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).standard_normal((9, 130)).astype(np.float32)
    expected = activated(activation, layer.linear(x))
    assert np.abs(run(session(model), x) - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("dtype", WEIGHT_TYPES, ids=str)
def test_packed_weights_stand_with_their_columns(dtype: np.dtype) -> None:
    weight = np.zeros((3, 70), dtype)
    weight[0, 5], weight[0, 63], weight[2, 69] = 1, 2, 3
    assert kept_of(weight) == 2
    packed, columns = pack_sparse_float(weight)
    assert packed.dtype == dtype
    assert packed.shape == columns.shape == (2, 3, 2)
    assert packed[0, 0].tolist() == [1, 2]
    assert columns[0, 0].tolist() == [5, 63]
    assert sorted(zip(columns[1, 2], packed[1, 2], strict=True))[-1] == (5, 3)
    assert not packed[:, 1].any()


def test_names_and_errors() -> None:
    for name, activation in activation_of(FAMILY).items():
        assert sparse_float_function(activation).name == name
    with pytest.raises(ConfpressError, match="of float32 or bfloat16, not float64"):
        pack_sparse_float(np.zeros((3, 4)))
