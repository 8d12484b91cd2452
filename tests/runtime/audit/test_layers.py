"""The audit tells what runs: every known trap of ONNX Runtime is built here, and caught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from confpress.passes.lower.cpu import LowerCpu
from confpress.passes.lower.portable import LowerPortable
from confpress.passes.quantize import Quantize
from confpress.runtime.audit.layers import LayerAudit, audit, judged, pair
from confpress.runtime.kernels import library_path
from confpress.runtime.model_file import load_model, save_model
from confpress.runtime.profile.optimised import optimised_graph
from confpress.runtime.session import DEFAULT_OPTIONS, SessionOptions

from tests.passes.graphs import parse

RANDOM = np.random.default_rng(0)
K, N = 64, 64
WEIGHT = RANDOM.standard_normal((K, N)).astype(np.float32)
CODES = RANDOM.integers(-127, 128, (K, N)).astype(np.int8)
SCALES = np.full(N, 0.01, np.float32)
BIAS = np.ones(N, np.float32)
SCALE, POINT = np.float32(0.05), np.uint8(128)
KERNEL = RANDOM.integers(-127, 128, (8, 8, 3, 3)).astype(np.int8)

Array = npt.NDArray[np.generic]


def written(tmp_path: Path, text: str, opset: int = 21, **initializers: Array) -> Path:
    """A model file; its head and the types of its initializers are filled in."""
    names = ", ".join(f"float[] {name}" for name in initializers)
    head, body = text.split("=>")
    model = parse(
        f'<ir_version: 10, opset_import: ["": {opset}, "com.microsoft": 1]> '
        f"g ({head.strip()}{', ' if names else ''}{names}) => {body}",
        **initializers,
    )
    for index, node in enumerate(model.graph):
        node.name = f"{node.op_type}.{index}"
    save_model(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def only(path: Path, options: SessionOptions = DEFAULT_OPTIONS) -> LayerAudit:
    """The one layer of a model."""
    (layer,) = audit(path, options).layers
    return layer


def found(layer: LayerAudit, text: str) -> bool:
    return any(text in finding for finding in layer.findings)


QDQ_INPUT = "q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)"


def static_qdq(tmp_path: Path, frames: str) -> LayerAudit:
    text = f"""float[1, {frames}, {K}] x => (float[1, {frames}, {N}] y) {{
        {QDQ_INPUT}
        w = DequantizeLinear <axis = 1> (codes, scales)
        p = MatMul (d, w)
        y = Add (p, b) }}"""
    return only(
        written(tmp_path, text, s=np.array(SCALE), z=np.array(POINT), codes=CODES,
                scales=SCALES, b=BIAS)
    )  # fmt: skip


def test_constant_frames_make_a_gemm_of_an_integer_layer(tmp_path: Path) -> None:
    trapped = static_qdq(tmp_path, "32")
    assert (trapped.stated, trapped.as_planned) == ("integer", False)
    assert trapped.runs in ("folded", "decoded")
    assert found(trapped, "makes a Gemm")
    free = static_qdq(tmp_path, "T")
    assert (free.runs, free.as_planned) == ("integer", True)
    assert free.kernel == "com.microsoft.MatMulIntegerToFloat"


def weight_only(
    tmp_path: Path, dtype: npt.DTypeLike, options: SessionOptions = DEFAULT_OPTIONS
) -> LayerAudit:
    text = f"""float[B, T, {K}] x => (float[B, T, {N}] y) {{
        w = DequantizeLinear <axis = 1> (codes, scales)
        y = MatMul (x, w) }}"""
    layer = only(written(tmp_path, text, codes=CODES.astype(dtype), scales=SCALES), options)
    assert layer.stated == "weights"
    return layer


def test_weights_alone_gain_no_speed(tmp_path: Path) -> None:
    float8 = weight_only(tmp_path, ml_dtypes.float8_e4m3fn)
    assert (float8.runs, float8.as_planned) == ("decoded", False)
    assert found(float8, "float8_e4m3fn weight is decoded to float32 on every call")
    int8 = weight_only(tmp_path, np.int8)
    assert (int8.runs, int8.kernel) == ("low-bit", "com.microsoft.MatMulNBits")
    assert found(int8, "no faster than float32")
    no_qdq = SessionOptions(config=(("session.disable_quant_qdq", "1"),))
    folded = weight_only(tmp_path, np.int8, no_qdq)
    assert (folded.runs, folded.as_planned) == ("folded", False)
    assert found(folded, "decoded to float32 when the model is loaded")


def test_blocks_of_four_bits_become_a_kernel_that_is_no_faster(tmp_path: Path) -> None:
    text = f"""float[B, T, {K}] x => (float[B, T, {N}] y) {{
        w = DequantizeLinear <axis = 0, block_size = 32> (codes, scales)
        y = MatMul (x, w) }}"""
    codes = (CODES // 16).astype(ml_dtypes.int4)
    scales = np.full((K // 32, N), 0.1, np.float32)
    layer = only(written(tmp_path, text, codes=codes, scales=scales))
    assert (layer.runs, layer.as_planned) == ("low-bit", True)
    assert found(layer, "MatMulNBits is no faster than float32")


def convolution(tmp_path: Path, end: str) -> LayerAudit:
    text = f"""float[1, 8, T, 16] x => (float[] y) {{
        {QDQ_INPUT}
        w = DequantizeLinear <axis = 0> (codes, scales)
        p = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (d, w)
        {end} }}"""
    return only(
        written(tmp_path, text, s=np.array(SCALE), z=np.array(POINT), codes=KERNEL,
                scales=SCALES[:8], none=np.array(0, np.uint8))
    )  # fmt: skip


def test_a_convolution_needs_its_output_quantised(tmp_path: Path) -> None:
    trapped = convolution(tmp_path, "y = Relu (p)")
    assert not trapped.as_planned
    assert found(trapped, "its output has no QuantizeLinear")
    whole = "r = Relu (p)  o = QuantizeLinear (r, s, none)  y = DequantizeLinear (o, s, none)"
    assert convolution(tmp_path, whole).as_planned


def test_unsigned_weights_and_one_range_for_all_are_told(tmp_path: Path) -> None:
    text = f"""float[B, T, {K}] x => (float[B, T, {N}] y) {{
        y = com.microsoft.DynamicQuantizeMatMul (x, codes, scales, points) }}"""
    unsigned = (CODES.astype(np.int16) + 128).astype(np.uint8)
    points = np.full(N, 128, np.uint8)
    path = written(tmp_path, text, codes=unsigned, scales=SCALES, points=points)
    layer = only(path)
    assert layer.as_planned
    assert found(layer, "unsigned weights")
    assert found(layer, "one range for the whole tensor")


def test_a_range_found_at_run_time_is_told_through_fusion(tmp_path: Path) -> None:
    text = f"""float[B, T, {K}] x => (float[B, T, {N}] y) {{
        q, s, z = DynamicQuantizeLinear (x)
        i = MatMulInteger (q, codes, z)
        f = Cast <to = 1> (i)
        scale = Mul (s, scales)
        y = Mul (f, scale) }}"""
    layer = only(written(tmp_path, text, codes=CODES, scales=SCALES))
    assert layer.as_planned
    assert layer.kernel == "com.microsoft.DynamicQuantizeMatMul"
    assert found(layer, "one range for the whole tensor")


def test_an_integer_convolution_of_one_node_is_told(tmp_path: Path) -> None:
    text = """float[1, 8, T, 16] x => (int32[] y) {
        q, s, z = DynamicQuantizeLinear (x)
        y = ConvInteger <kernel_shape = [3, 3]> (q, codes, z) }"""
    assert found(only(written(tmp_path, text, codes=KERNEL)), "hardly faster than float32")


def test_float16_has_no_kernel(tmp_path: Path) -> None:
    text = f"""float16[B, T, {K}] x => (float16[B, T, {N}] y) {{ y = MatMul (x, w) }}"""
    layer = only(written(tmp_path, text, w=WEIGHT.astype(np.float16)))
    assert (layer.stated, layer.as_planned) == ("float16", False)
    assert found(layer, "float16 is computed in float32")


def test_bfloat16_is_storage(tmp_path: Path) -> None:
    text = f"""float[B, T, {K}] x => (float[B, T, {N}] y) {{
        w = Cast <to = 1> (half)
        y = MatMul (x, w) }}"""
    layer = only(written(tmp_path, text, half=WEIGHT.astype(ml_dtypes.bfloat16)))
    assert (layer.stated, layer.stored, layer.runs) == ("storage", "bfloat16", "folded")
    assert layer.as_planned


def test_float_layers_and_storage_run_as_they_are_meant_to(tmp_path: Path) -> None:
    text = f"""float[B, T, {K}] x => (float[B, T, {N}] y) {{
        c = Cast <to = 1> (codes)
        w = Mul (c, scales)
        h = MatMul (x, w)
        y = MatMul (h, v) }}"""
    path = written(tmp_path, text, codes=CODES, scales=SCALES, v=WEIGHT)
    stored, plain = audit(path).layers
    assert (stored.stated, stored.stored, stored.runs) == ("storage", "int8", "folded")
    assert (plain.stated, plain.runs) == ("float32", "float")
    assert stored.as_planned
    assert plain.as_planned
    # Without its optimisations ONNX Runtime decodes what was meant as storage again and again.
    stored, plain = audit(path, SessionOptions(graph_level="disabled")).layers
    assert (stored.runs, stored.as_planned) == ("decoded", False)
    assert plain.as_planned


def test_processors_without_vnni_saturate(tmp_path: Path) -> None:
    text = f"""float[B, T, {K}] x => (float[B, T, {N}] y) {{
        y = com.microsoft.DynamicQuantizeMatMul (x, codes, scales) }}"""
    path = written(tmp_path, text, codes=CODES, scales=SCALES)

    def with_features(*features: str) -> Sequence[LayerAudit]:
        model = load_model(path)
        return judged(pair(model, optimised_graph(path)), model, features)

    assert found(with_features("avx2")[0], "session.x64quantprecision")
    assert not found(with_features("avx2", "avx512_vnni")[0], "session.x64quantprecision")
    assert not found(with_features("asimd")[0], "session.x64quantprecision")
    written(tmp_path, text, codes=CODES // 2, scales=SCALES)
    assert not found(with_features("avx2")[0], "session.x64quantprecision")


def quantized(tmp_path: Path, *lowering: ir.passes.InPlacePass) -> Path:
    text = f"""float[B, T, {K}] x => (float[B, T, {N}] y) {{
        p = MatMul (x, w)
        y = Add (p, b) }}"""
    path = written(tmp_path, text, w=WEIGHT, b=BIAS)
    model = load_model(path)
    for each in (Quantize(convolution="float32"), *lowering):
        each(model)
    save_model(model, tmp_path / "lowered.onnx")
    return tmp_path / "lowered.onnx"


def test_the_interchange_model_is_not_what_runs_fast(tmp_path: Path) -> None:
    layer = only(quantized(tmp_path))
    assert (layer.stated, layer.as_planned) == ("integer", False)
    assert found(layer, "confpress lower")
    assert only(quantized(tmp_path, LowerPortable())).as_planned


def test_bodies_run_where_kernels_are_missing(tmp_path: Path) -> None:
    path = quantized(tmp_path, LowerCpu())
    layer = only(path, SessionOptions(kernels=False))
    assert (layer.stated, layer.runs, layer.as_planned) == ("integer", "body", False)
    assert found(layer, "the body of confpress.v1.QuantLinear runs")
    if not library_path().exists():
        pytest.skip("the kernel library is not built")
    assert only(path).as_planned
    # What ONNX Runtime saves with the library loaded has lost the functions.
    model = load_model(path)
    model.functions.clear()
    save_model(model, path)
    assert found(only(path), "lost the body")
