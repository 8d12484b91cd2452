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


def refused(inputs: str, outputs: str = "float[B, S, 9] logprobs") -> str:
    with pytest.raises(ConfpressError) as caught:
        read_interface(model(inputs, outputs), name="m.onnx")
    text = str(caught.value)
    assert text.startswith("m.onnx")
    assert text.endswith(".")
    assert "\n" not in text
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
        mask=None,
        mask_dtype=np.int64,
        scores="y",
        vocabulary=9,
        score_lengths="y_n",
    )
    assert face.knows_padding


def test_frames_first_half_precision_and_fixed_sizes() -> None:
    face = read_interface(model("float16[2, 300, 80] x, int32[2] n"))
    assert (face.mels_first, face.dtype, face.batch, face.frames) == (False, np.float16, 2, 300)
    assert (face.length_dtype, face.score_lengths) == (np.int32, None)


def test_feeds_pad_with_zeros_and_turn_the_layout() -> None:
    face = read_interface(model("float[B, T, 16] x, int64[B] n, bool[B, T] mask"))
    feeds = face.feeds([np.ones((16, 4), np.float32), np.ones((16, 2), np.float32)])
    assert feeds["x"].shape == (2, 4, 16)
    assert feeds["x"][1].sum(axis=1).tolist() == [16, 16, 0, 0]
    assert feeds["n"].tolist() == [4, 2]
    assert feeds["mask"].dtype == bool
    assert feeds["mask"].tolist() == [[True] * 4, [True, True, False, False]]


def test_valid_frames_are_estimated_by_the_subsampling() -> None:
    face = read_interface(model("float[B, T, 16] x"))
    assert not face.knows_padding
    batch = [np.ones((16, n), np.float32) for n in (8, 5, 4)]
    assert face.valid_frames(batch, encoder_frames=2) == [2, 2, 1]


def test_fixed_sizes_are_filled_or_refused() -> None:
    face = read_interface(model("float[1, 80, 8] x"), name="m")
    assert face.feeds([np.ones((80, 5), np.float32)])["x"].shape == (1, 80, 8)
    with pytest.raises(ConfpressError, match="m takes 8 frames only, not 9"):
        face.feeds([np.ones((80, 9), np.float32)])
    with pytest.raises(ConfpressError, match="batches of 1 only, not of 2"):
        face.feeds([np.ones((80, 5), np.float32)] * 2)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("float[B, 3, 224, 224] x", "takes images"),
        ("float[B, samples] x", "raw audio"),
        ("int64[B, T] tokens", "numbers of tokens"),
        ("", "no input"),
        ("float[B, M, T] x", "no input"),
        ("float[B, 80, T] x, float[B, 4, 8, 8] cache", "'cache' besides features"),
    ],
)
def test_what_is_not_features_is_refused(inputs: str, words: str) -> None:
    assert words in refused(inputs)


def test_missing_scores_are_refused() -> None:
    assert "no log-probabilities" in refused("float[B, 80, T] x", "int64[B] y")


def test_states_of_a_streaming_model_start_with_zeros_and_are_handed_on() -> None:
    face = read_interface(
        model(
            "float[B, 80, T] audio, int64[B] audio_length, float[B, 2, 70, 16] cache_last_channel, "
            "float[B, 2, 16, 8] cache_last_time, int64[B] cache_last_channel_len",
            "float[B, S, 9] logprobs, int64[B] encoded_length, "
            "float[B, 2, 70, 16] cache_last_channel_next, float[B, 2, 16, 8] cache_last_time_next, "
            "int64[B] cache_last_channel_next_len",
        )
    )
    assert face.length == "audio_length"
    assert face.score_lengths == "encoded_length"
    assert face.scores == "logprobs"
    assert {s.input: s.output for s in face.states} == {
        "cache_last_channel": "cache_last_channel_next",
        "cache_last_time": "cache_last_time_next",
        "cache_last_channel_len": "cache_last_channel_next_len",
    }
    chunk = [np.zeros((80, 32), np.float32)] * 3
    first = face.feeds(chunk)
    assert first["cache_last_channel"].shape == (3, 2, 70, 16)
    assert first["cache_last_channel_len"].dtype == np.int64
    assert not any(first[state.input].any() for state in face.states)
    given = {s.output: np.full_like(first[s.input], 5) for s in face.states}
    assert all((face.feeds(chunk, given)[s.input] == 5).all() for s in face.states)


def test_a_state_that_grows_starts_empty() -> None:
    face = read_interface(
        model(
            "float[B, 80, T] audio, float[B, P, 16] past_keys",
            "float[B, S, 9] y, float[B, P, 16] present_keys",
        )
    )
    assert face.feeds([np.zeros((80, 32), np.float32)])["past_keys"].shape == (1, 0, 16)


def test_wenets_names_of_states() -> None:
    face = read_interface(
        model(
            "float[B, 67, 80] chunk_xs, int32[B] chunk_lens, int64[B, 1] offset, "
            "float[B, 4, 4, 80, 72] att_cache, float[B, 1, 80] cache_mask",
            "float[B, S, 9] y, int32[B] chunk_out_lens, int64[B, 1] r_offset, "
            "float[B, 4, 4, C, 72] r_att_cache, float[B, 1, C] r_cache_mask",
        )
    )
    assert [s.input for s in face.states] == ["att_cache", "cache_mask", "offset"]
    assert all(state.output == f"r_{state.input}" for state in face.states)
    assert (face.length, face.mask, face.score_lengths) == ("chunk_lens", None, "chunk_out_lens")


def test_lengths_in_and_out_are_no_state() -> None:
    face = read_interface(
        model(
            "float[B, 80, T] input_features, int64[B] input_lengths",
            "float[B, S, 9] y, int64[B] output_lengths",
        )
    )
    assert (face.length, face.score_lengths) == ("input_lengths", "output_lengths")
    assert not face.states
