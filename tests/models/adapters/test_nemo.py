from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("safetensors", reason="the extra `train` is not installed")

from confpress.models.adapters.nemo import config_from_weights, load_nemo  # noqa: E402
from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.passes.errors import ConfpressError  # noqa: E402
from confpress.runtime.speech import FrontEnd, Utterance, read_audio  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


@pytest.mark.parametrize(("batch", "time"), [(1, 301), (2, 480)])
def test_outputs_equal_the_onnx_file_of_the_same_weights(
    nemo_model: Path, test_other: list[Utterance], batch: int, time: int
) -> None:
    model = load_nemo(nemo_model.with_name("model.safetensors"))
    assert sum(t.numel() for t in model.parameters()) > 13_000_000
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(nemo_model, options, providers=["CPUExecutionProvider"])
    front = FrontEnd()
    speech = [front.features(read_audio(u.path, front.sample_rate)) for u in test_other[:batch]]
    features = torch.from_numpy(np.stack([s[:, :time] for s in speech]))
    # Full lengths: the file does not mask inside the subsampling, our model does.
    length = torch.full((batch,), time)
    with torch.no_grad():
        logprobs, encoded = model(features, length)
    expected, expected_lengths = session.run(
        None, {"audio_signal": features.numpy(), "length": length.numpy()}
    )
    assert encoded.tolist() == expected_lengths.tolist()
    # Float32 sums in another order over 16 layers; the log probabilities reach -20 and beyond.
    np.testing.assert_allclose(logprobs.numpy(), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": "dw_striding", "subsampling_factor": 8}, {"features": 64}]
)
def test_the_shape_is_read_off_the_tensors(tmp_path: Path, options: dict[str, object]) -> None:
    config = ConformerConfig(
        **{
            "vocabulary": 9,
            "d_model": 24,
            "layers": 3,
            "heads": 2,
            "ff_dim": 32,
            "kernel": 5,
            "subsampling_channels": 6,
            **options,
        }
    )
    weights = ConformerCTC(config).state_dict()
    assert config_from_weights(weights) == config
    path = tmp_path / "model.safetensors"
    front_end = {f"preprocessor.featurizer.{name}": torch.ones(3) for name in ("window", "fb")}
    save_file({k: v for k, v in weights.items() if "num_batches" not in k} | front_end, path)
    loaded = load_nemo(path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def test_what_is_no_conformer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"rubbish")
    with pytest.raises(ConfpressError, match="not a safetensors file"):
        load_nemo(path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ConfpressError, match="does not hold a Conformer-CTC"):
        load_nemo(path)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    config = ConformerConfig(vocabulary=5, d_model=8, layers=1, heads=2, ff_dim=8, kernel=3)
    weights = ConformerCTC(config).state_dict()
    del weights["encoder.layers.0.norm_out.bias"]
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    with pytest.raises(ConfpressError, match=r"lacks encoder\.layers\.0\.norm_out\.bias"):
        load_nemo(path)
