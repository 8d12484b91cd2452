from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.quantlinear_lowbit import (
    BLOCKS,
    FP4,
    INT2,
    INT4,
    UINT4,
    LowBitFormat,
    lowbit_function,
    lowbit_node,
    pack_codes,
    packed_shape,
    unpack_codes,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ..lowbit_layers import LowBitLayer
from ..quant_layers import run, session, silu

FORMATS = (INT4, UINT4, FP4, INT2)
#: Share of the largest output by which the body's float sums may differ from float64.
TOLERANCE = 1e-6
MATRICES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70)


@pytest.mark.parametrize("bits", [2, 4])
@given(codes=MATRICES.flatmap(lambda shape: hnp.arrays(np.uint8, shape)))
def test_unpack_inverts_pack(bits: int, codes: np.ndarray) -> None:
    codes = codes % (1 << bits)
    packed = pack_codes(codes, bits)
    assert packed.shape == packed_shape(*codes.shape, bits)
    assert packed.flags.c_contiguous
    np.testing.assert_array_equal(unpack_codes(packed, codes.shape, bits), codes)


@given(st.sampled_from([2, 4]), st.integers(0, 36), st.integers(0, 46))
def test_layout_is_strips_of_rows_and_bytes_of_groups(bits: int, row: int, column: int) -> None:
    codes = np.zeros((37, 47), np.uint8)
    codes[row, column] = 3
    packed = pack_codes(codes, bits)
    parts = 8 // bits
    group, part = divmod(column // 4, parts)
    assert packed[row // 16, group, row % 16, column % 4] == 3 << (bits * part)
    assert np.count_nonzero(packed) == 1


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((3, 4), np.int8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
        np.full((3, 4), 16, np.uint8),
    ],
    ids=["signed", "vector", "empty", "large"],
)
def test_pack_says_what_it_packs(codes: np.ndarray) -> None:
    with pytest.raises(ConfpressError, match=r"non-empty uint8 matrix .* below 16"):
        pack_codes(codes, 4)


def test_unpack_refuses_another_layout() -> None:
    with pytest.raises(ConfpressError, match=r"\[17, 5\] are uint8 \[2, 1, 16, 4\]"):
        unpack_codes(np.zeros((1, 1, 16, 4), np.uint8), (17, 5), 4)


def test_formats_mean_what_onnx_means() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    fp4 = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(float)
    np.testing.assert_array_equal(fp4, np.array(FP4.values) * FP4.unit)
    assert INT4.values == tuple(code - 16 * (code > 7) for code in range(16))
    assert INT2.values == tuple(code - 4 * (code > 1) for code in range(4))


@pytest.mark.parametrize("opset", [15, 17, 18, 21, 23])
@pytest.mark.parametrize("activation", ["", "silu"])
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_body_is_the_definition(opset: int, activation: str, form: LowBitFormat) -> None:
    layer = LowBitLayer.random(33, 63, 32, form)
    model = layer.model(activation, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).standard_normal((9, 63)).astype(np.float32)
    expected = layer.linear(x)
    scale = np.abs(expected).max()
    y = run(session(model), x)
    if activation:
        # ONNX Runtime's sigmoid is good to 3e-7.
        np.testing.assert_allclose(y, silu(expected), rtol=0, atol=2 * TOLERANCE * scale)
    else:
        np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (16, 128), (40, 300)])
def test_body_with_every_block(block: int, n: int, k: int) -> None:
    layer = LowBitLayer.random(n, k, block, INT4)
    x = np.random.default_rng(1).standard_normal((5, k)).astype(np.float32)
    expected = layer.linear(x)
    atol = TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(run(session(layer.model()), x), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 5), (0, 5), (2, 0, 5)])
def test_body_takes_any_leading_dimensions(shape: tuple[int, ...]) -> None:
    layer = LowBitLayer.random(7, 5, 16, FP4)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    y = run(session(layer.model(rank=len(shape))), x)
    expected = layer.linear(x.reshape(-1, 5)) if x.size else np.zeros((0, 7))
    np.testing.assert_allclose(y, expected.reshape(*shape[:-1], 7), rtol=0, atol=2e-6)


def test_weights_are_unpacked_once_at_load(tmp_path) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    model = LowBitLayer.random(33, 63, 32, FP4).model()
    ort.InferenceSession(model.SerializeToString(), options)
    nodes = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "MatMul" in nodes
    assert not nodes & {"Transpose", "Slice", "Gather", "Mod", "Tile"}


def test_formats_beyond_the_bounds_are_errors() -> None:
    for values in ((0, 1, 2), (0, 1, 2, 33), (100, 101, 102, 128)):
        with pytest.raises(ConfpressError, match="within 127 of zero and 32 of each other"):
            LowBitFormat("mine", values)


def test_unknown_variants_are_errors() -> None:
    with pytest.raises(ConfpressError, match="4 or 2 bits, not 3"):
        lowbit_function(3, "silu")
    with pytest.raises(ConfpressError, match='"sigmoid", not "tanh"'):
        lowbit_function(4, "tanh")
    with pytest.raises(ConfpressError, match="opset 15 or newer, not 13"):
        lowbit_function(4, opset=13)
    values = [ir.val(name) for name in "xwsb"]
    with pytest.raises(ConfpressError, match="16, 32, 64, 128 columns, not 48"):
        lowbit_node(*values, shape=(3, 4), block=48, form=INT4)


def test_node_knows_its_output() -> None:
    x = ir.val("x", ir.DataType.FLOAT, ["batch", "time", 5])
    others = [ir.val(name) for name in ("weight", "scales", "bias")]
    node = lowbit_node(x, *others, shape=(7, 5), block=32, form=INT2, activation="silu")
    assert node.op_type == "QuantLinear2BitSiLU"
    assert node.outputs[0].dtype == ir.DataType.FLOAT
    assert [str(size) for size in node.outputs[0].shape] == ["batch", "time", "7"]
