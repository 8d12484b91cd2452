from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.interface import Interface, read_interface
from onnx import parser


def model(inputs: str, outputs: str = "float[B, S, 9] logprobs") -> ir.Model:
    """A model of which only the signature matters."""
    return ir.from_proto(
        parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({outputs}) {{ }}'
        )
    )


def refused(inputs: str, outputs: str = "float[B, S, 9] logprobs", mels: int | None = 80) -> str:
    with pytest.raises(ConfpressError) as caught:
        read_interface(model(inputs, outputs), mels=mels, name="m.onnx")
    text = str(caught.value)
    assert text.startswith("m.onnx")
    return text


def test_mels_first_with_lengths() -> None:
    face = read_interface(
        model("float[B, 80, T] audio, int64[B] n", "float[B, S, 9] y, int64[B] y_n"), name="m"
    )
    assert face == Interface(
        model="m",
        features="audio",
        mels=80,
        mels_first=True,
        dtype=np.float32,
        batch=None,
        frames=None,
        length="n",
        length_dtype=np.int64,
        scores="y",
        vocabulary=9,
        score_lengths="y_n",
    )


def test_frames_first_half_precision_and_fixed_sizes() -> None:
    face = read_interface(model("float16[2, 300, 80] x, int32[2] n"), mels=80)
    assert (face.mels_first, face.dtype, face.batch, face.frames) == (False, np.float16, 2, 300)
    assert (face.length_dtype, face.score_lengths) == (np.int32, None)


def test_the_front_end_settles_which_axis_is_which() -> None:
    assert not read_interface(model("float[1, 100, 80] x"), mels=80).mels_first
    assert read_interface(model("float[1, 100, 80] x"), mels=100).mels_first


def test_log_probabilities_are_found_among_outputs() -> None:
    outputs = "float[B, S, 256] encoded, float[B, S, 9] ctc_log_probs, int64[B] n"
    face = read_interface(model("float[B, T, 80] x", outputs))
    assert (face.scores, face.vocabulary, face.score_lengths) == ("ctc_log_probs", 9, "n")


def test_feeds_pad_with_zeros_and_turn_the_layout() -> None:
    face = read_interface(model("float[B, T, 3] x, int64[B] n"))
    feeds = face.feeds([np.ones((3, 4), np.float32), np.ones((3, 2), np.float32)])
    assert feeds["x"].shape == (2, 4, 3)
    assert feeds["x"][1].sum(axis=1).tolist() == [3, 3, 0, 0]
    assert feeds["n"].tolist() == [4, 2]
    assert face.valid_frames([np.ones((3, 4)), np.ones((3, 3))], 2) == [2, 2]


def test_fixed_sizes_are_filled_or_refused() -> None:
    face = read_interface(model("float[1, 3, 8] x"), mels=3, name="m")
    assert face.feeds([np.ones((3, 5), np.float32)])["x"].shape == (1, 3, 8)
    with pytest.raises(ConfpressError, match="m takes 8 frames only, not 9"):
        face.feeds([np.ones((3, 9), np.float32)])
    with pytest.raises(ConfpressError, match="batches of 1 only, not of 2"):
        face.feeds([np.ones((3, 5), np.float32)] * 2)


def test_images_raw_audio_and_caches_are_refused() -> None:
    assert "'x' float [B, 3, 224, 224]" in refused("float[B, 3, 224, 224] x")
    assert "raw audio" in refused("float[B, samples] x")
    assert "not speech features" in refused("int64[B, T] tokens")
    assert "takes nothing" in refused("")
    assert "only features and" in refused("float[B, 80, T] x, float[B, 4, 8, 8] cache")
    assert "not speech features" in refused("float[B, 80, T] x, float[B, 4, 8] cache")


def test_ambiguous_axes_and_missing_scores_are_refused() -> None:
    assert "which axis" in refused("float[B, M, T] x")
    assert "which axis" in refused("float[1, 80, 80] x")
    assert "none is [batch, frames, vocabulary]" in refused("float[B, 80, T] x", "int64[B] y")
