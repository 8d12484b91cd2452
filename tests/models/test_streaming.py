"""Streaming: chunks with states are the whole utterance, and the file is the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.models.export import export_streaming_onnx  # noqa: E402
from confpress.models.streaming import StreamingConformerCTC  # noqa: E402


def streaming(
    left_context: int = 9, *, causal: bool = True, kernel: int = 5
) -> StreamingConformerCTC:
    """A small seeded model."""
    torch.manual_seed(0)
    config = ConformerConfig(
        vocabulary=7,
        d_model=16,
        layers=2,
        heads=2,
        ff_dim=24,
        kernel=kernel,
        subsampling_channels=4,
        causal=causal,
    )
    return StreamingConformerCTC(ConformerCTC(config).eval(), left_context).eval()


def test_a_model_that_looks_ahead_cannot_stream() -> None:
    with pytest.raises(ValueError, match="causal"):
        streaming(causal=False)


@pytest.mark.parametrize("kernel", [1, 5])
def test_states_carry_what_a_longer_chunk_would_have_seen(kernel: int) -> None:
    model = streaming(left_context=64, kernel=kernel)
    features = torch.randn(2, 80, 96)
    # Attention sees all of its chunk, later frames too, so how speech is cut matters to it alone.
    with torch.no_grad():
        model.model.encoder.layers[1].self_attn.linear_out.weight.zero_()
        model.model.encoder.layers[0].self_attn.linear_out.weight.zero_()
        whole = model(features, *model.initial_states(2))[0]
        states, pieces = model.initial_states(2), []
        for start in range(0, 96, 16):
            result, *states = model(features[:, :, start : start + 16], *states)
            pieces.append(result)
    np.testing.assert_allclose(torch.cat(pieces, 1).numpy(), whole.numpy(), atol=1e-5)


def test_the_first_chunk_begins_as_the_model_that_does_not_stream() -> None:
    model = streaming()
    features = torch.randn(2, 80, 96)
    with torch.no_grad():
        whole, _ = model.model(features, torch.tensor([96, 96]))
        chunk = model(features, *model.initial_states(2))[0]
    np.testing.assert_allclose(chunk.numpy(), whole.numpy(), atol=1e-5)


def test_attention_sees_the_frames_before_the_chunk_and_no_further() -> None:
    model = streaming(left_context=4)
    with torch.no_grad():
        first = [torch.randn(1, 80, 32) for _ in range(6)]
        other = [torch.randn(1, 80, 32), *first[1:]]

        def last(chunks: list[torch.Tensor]) -> torch.Tensor:
            states = model.initial_states(1)
            for chunk in chunks:
                result, *states = model(chunk, *states)
            return result

        # A layer reaches eight frames, one chunk, before what it computes with: two layers, two.
        assert not torch.equal(last(first[:2]), last(other[:2]))
        assert torch.equal(last(first), last(other))


@pytest.mark.parametrize(("exporter", "opset"), [("torchscript", 17), ("dynamo", 18)])
def test_an_exported_file_follows_the_model_chunk_by_chunk(
    tmp_path: Path, exporter: str, opset: int
) -> None:
    model, path = streaming(), tmp_path / "model.onnx"
    export_streaming_onnx(model, path, exporter, opset)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    assert names[:5] == ["audio_signal", "features", "seen", "keys_0", "values_0"]
    for batch in (1, 3):
        states = model.initial_states(batch)
        fed = [state.numpy() for state in states]
        for frames in (16, 40, 16, 64):
            chunk = torch.randn(batch, 80, frames)
            with torch.no_grad():
                expected, *states = model(chunk, *states)
            found, *fed = session.run(None, dict(zip(names, [chunk.numpy(), *fed], strict=True)))
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
