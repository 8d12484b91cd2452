from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.models.export import export_onnx  # noqa: E402
from confpress.passes.errors import ConfpressError  # noqa: E402

SHAPE = {"vocabulary": 7, "d_model": 16, "layers": 1, "heads": 2, "ff_dim": 24, "kernel": 5}


@pytest.mark.parametrize(
    ("exporter", "opset", "options"),
    [
        ("torchscript", 17, {}),
        ("torchscript", 17, {"max_positions": 200}),
        ("torchscript", 18, {"subsampling": "dw_striding", "subsampling_factor": 8}),
        ("dynamo", 18, {"subsampling": "dw_striding", "subsampling_factor": 8}),
        ("dynamo", 20, {}),
    ],
)
def test_an_exported_file_equals_the_model(
    tmp_path: Path, exporter: str, opset: int, options: dict[str, object]
) -> None:
    model = ConformerCTC(ConformerConfig(**{**SHAPE, "subsampling_channels": 4, **options}))
    path = tmp_path / "model.onnx"
    export_onnx(model, path, exporter, opset)
    assert model.training
    model.eval()

    proto = onnx.load(path)
    assert {o.domain: o.version for o in proto.opset_import}[""] == opset
    assert [i.name for i in proto.graph.input] == ["audio_signal", "length"]
    assert [o.name for o in proto.graph.output] == ["logprobs", "encoded_lengths"]

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for lengths in ([301], [180, 97], [640, 603, 320]):
        features = torch.randn(len(lengths), 80, lengths[0])
        length = torch.tensor(lengths)
        with torch.no_grad():
            logprobs, encoded = model(features, length)
        result, result_lengths = session.run(
            None, {"audio_signal": features.numpy(), "length": length.numpy()}
        )
        np.testing.assert_allclose(result, logprobs.numpy(), atol=1e-5)
        np.testing.assert_array_equal(result_lengths, encoded.numpy())


@pytest.mark.parametrize(("exporter", "opset"), [("torchscript", 17), ("dynamo", 18)])
def test_a_short_position_table_is_exported(tmp_path: Path, exporter: str, opset: int) -> None:
    model = ConformerCTC(ConformerConfig(**SHAPE, subsampling_channels=4, max_positions=20)).eval()
    path = tmp_path / "model.onnx"
    export_onnx(model, path, exporter, opset)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for frames in (80, 33):
        features, length = torch.randn(1, 80, frames), torch.tensor([frames])
        with torch.no_grad():
            logprobs, _ = model(features, length)
        result, _ = session.run(None, {"audio_signal": features.numpy(), "length": length.numpy()})
        np.testing.assert_allclose(result, logprobs.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("exporter", "opset", "written"),
    [("torchscript", 24, "11 to 23"), ("dynamo", 17, "18 to 25"), ("dynamo", 26, "18 to 25")],
)
def test_a_version_that_the_exporter_does_not_write_is_refused(
    tmp_path: Path, exporter: str, opset: int, written: str
) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ConfpressError, match=f"{exporter} writes opsets {written}, not {opset}"):
        export_onnx(ConformerCTC(ConformerConfig(**SHAPE)), path, exporter, opset)
    assert not path.exists()
