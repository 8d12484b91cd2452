"""Times of layers stand beside those of the same products in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from confpress.passes.lower.portable import LowerPortable
from confpress.passes.quantize import Quantize
from confpress.passes.structure import Recognise
from confpress.runtime.audit.cost import Twin, audit_timed, twin_times
from confpress.runtime.model_file import load_model, save_model
from confpress.runtime.recognition.asr import AsrModel

TWIN = Twin((32, 64), (64, 128))
CONVOLUTION = Twin((1, 8, 20, 16), (16, 8, 3, 3), (("strides", (2, 2)),))
DEPTHWISE = Twin((1, 16, 20), (16, 1, 5), (("group", 16),))


def test_every_product_has_a_time_of_its_own() -> None:
    found = twin_times([TWIN, CONVOLUTION, TWIN, DEPTHWISE], runs=2)
    assert set(found) == {TWIN, CONVOLUTION, DEPTHWISE}
    assert all(ms > 0 for ms in found.values())
    assert twin_times([]) == {}


def test_layers_have_both_times(tiny_ctc: Path, tmp_path: Path) -> None:
    model = load_model(tiny_ctc)
    for each in (Recognise(), Quantize(convolution="float32"), LowerPortable()):
        each(model)
    save_model(model, tmp_path / "int8.onnx")
    original = AsrModel.load(tiny_ctc)
    found = audit_timed(
        AsrModel.load(tmp_path / "int8.onnx", original.frontend), seconds=2.0, runs=2
    )
    assert (found.seconds, found.batch) == (2.0, 1)
    # The head is too small to be quantised.
    assert [layer.kernel for layer in found.layers] == [
        "com.microsoft.DynamicQuantizeMatMul",
        "MatMul",
    ]
    assert found.unplanned == ()
    for layer in found.layers:
        assert layer.ms is not None and layer.ms > 0
        assert layer.float_ms is not None and layer.float_ms > 0


def test_a_model_of_a_fixed_batch_is_audited_in_it(make_ctc: Callable[..., Path]) -> None:
    found = audit_timed(AsrModel.load(make_ctc(batch=4)), seconds=0.5, runs=2)
    assert found.batch == 4
    assert all(layer.ms for layer in found.layers)
