from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.sparselinear import (
    BLOCK,
    KEPT,
    SPANS,
    WINDOW,
    Pattern,
    is_faster,
    pack_sparse,
    pattern_of,
    sparse_function,
    unpack_sparse,
)
from hypothesis import given
from hypothesis import strategies as st

from ..quant_layers import run, session, silu
from ..sparse_layers import SparseLayer

# ONNX Runtime's sigmoid is this far from the exact one, times the magnitudes of these tests (< 60).
SILU_TOLERANCE = 5e-6
PATTERNS = [Pattern(kept, span) for kept in KEPT for span in SPANS if kept * span >= 64]


@given(st.integers(1, 40), st.integers(1, 150), st.sampled_from(PATTERNS), st.integers(0, 9))
def test_unpack_inverts_pack(n: int, k: int, pattern: Pattern, seed: int) -> None:
    codes = SparseLayer.balanced(n, k, pattern, seed).codes
    packed, columns = pack_sparse(codes, pattern)
    assert packed.shape == columns.shape == (-(-n // 16), -(-k // 64), pattern.kept // 4, 16, 4)
    np.testing.assert_array_equal(unpack_sparse(packed, columns, codes.shape), codes)
    named = columns.transpose(0, 3, 1, 2, 4).reshape(-1, pattern.kept)
    assert all(len(set(row)) == pattern.kept for row in named)


@pytest.mark.parametrize("reach", [WINDOW, BLOCK])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_the_fastest_pattern_of_a_weight_is_found(pattern: Pattern, reach: int) -> None:
    codes = SparseLayer.balanced(64, 320, pattern).codes
    found = pattern_of(codes, reach)
    assert found is not None
    assert found.look_ups(reach) <= pattern.look_ups(reach)
    np.testing.assert_array_equal(unpack_sparse(*pack_sparse(codes, found), codes.shape), codes)


@pytest.mark.parametrize(
    ("zeros", "runs_as", "faster"),
    [("2:16", "2:16", True), ("4:16", "4:16", True), ("4:32", "4:16", True),
     ("8:16", "8:16", False), ("16:64", "16:64", False), ("8:64", "8:64", False)],
)  # fmt: skip
def test_patterns_are_looked_up_in_windows_where_they_can(
    zeros: str, runs_as: str, faster: bool
) -> None:
    pattern = next(each for each in PATTERNS if str(each) == zeros)
    found = pattern_of(SparseLayer.balanced(256, 320, pattern).codes)
    assert found is not None
    assert (str(found), is_faster(found)) == (runs_as, faster)


@pytest.mark.parametrize(
    ("zeros", "runs_as", "faster"),
    [("2:16", "2:16", True), ("4:16", "4:16", True), ("32:64", "32:64", False),
     ("16:64", "16:64", True), ("8:64", "8:64", True)],
)  # fmt: skip
def test_look_ups_in_a_block_serve_every_pattern(zeros: str, runs_as: str, faster: bool) -> None:
    pattern = next(each for each in PATTERNS if str(each) == zeros)
    found = pattern_of(SparseLayer.balanced(256, 320, pattern).codes, BLOCK)
    assert found is not None
    assert (str(found), is_faster(found, reach=BLOCK)) == (runs_as, faster)


@pytest.mark.parametrize(("sparse", "faster"), [(1.0, True), (2.0, False), (3.0, False)])
def test_measured_times_decide(sparse: float, faster: bool) -> None:
    pattern = Pattern(32, 16)
    costs = {(8, 64, "dense"): 2.0, (8, 64, str(pattern)): sparse}
    assert is_faster(pattern, (8, 64), costs) is faster
    assert is_faster(pattern, (64, 8), costs) is is_faster(pattern)


def test_slots_of_a_short_span_name_columns_of_one_window() -> None:
    _, columns = pack_sparse(SparseLayer.balanced(33, 130, Pattern(16, 16)).codes, Pattern(16, 16))
    assert (columns // 16 == np.arange(4)[:, None, None]).all()
    _, columns = pack_sparse(SparseLayer.balanced(33, 130, Pattern(8, 16)).codes, Pattern(8, 16))
    assert (columns // 16 == np.array([[0, 0, 1, 1], [2, 2, 3, 3]])[:, None, :]).all()


def test_a_weight_that_is_half_full_somewhere_has_no_pattern() -> None:
    codes = SparseLayer.balanced(8, 128, Pattern(16, 16)).codes
    codes[3, 64:97] = 1
    assert pattern_of(codes) is None
    with pytest.raises(ConfpressError, match="more non-zeros than the pattern 4:16 keeps"):
        pack_sparse(codes, Pattern(16, 16))


def test_pack_says_what_it_packs() -> None:
    with pytest.raises(ConfpressError, match="non-empty int8 matrix"):
        pack_sparse(np.zeros((3, 4), np.float32), Pattern(16, 16))
    with pytest.raises(ConfpressError, match=r"shape \[17, 5\] is \[2, 1, kept / 4, 16, 4\]"):
        unpack_sparse(np.zeros((1, 1, 4, 16, 4), np.int8), np.zeros(1, np.uint8), (17, 5))
    with pytest.raises(ConfpressError, match='"sigmoid", not "tanh"'):
        sparse_function("tanh")


@pytest.mark.parametrize("opset", [15, 17, 18, 21, 23])
@pytest.mark.parametrize("activation", ["", "silu"])
@pytest.mark.parametrize("pattern", [Pattern(8, 16), Pattern(16, 64)], ids=str)
def test_body_is_the_definition(opset: int, activation: str, pattern: Pattern) -> None:
    layer = SparseLayer.balanced(33, 163, pattern)
    model = layer.model(activation, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).standard_normal((9, 163)).astype(np.float32)
    y = run(session(model), x)
    if activation:
        np.testing.assert_allclose(y, silu(layer.linear(x)), rtol=0, atol=SILU_TOLERANCE)
    else:
        np.testing.assert_array_equal(y, layer.linear(x))


def test_weights_are_unpacked_once_at_load(tmp_path) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    model = SparseLayer.balanced(33, 163, Pattern(16, 16)).model()
    ort.InferenceSession(model.SerializeToString(), options)
    nodes = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "MatMul" in nodes
    assert not nodes & {"Transpose", "Slice", "ScatterElements", "Cast"}
