"""What a model takes: features in either layout; images, tokens and raw audio are refused."""

from __future__ import annotations

import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.structure import Layout, speech_interface

from .graphs import make

OUTPUT = "float[B,S,29] logprobs"


def interface(inputs: str, outputs: str = OUTPUT):
    return speech_interface(make("logprobs = Identity (features)", None, inputs=inputs,
                                 outputs=outputs, infer=False))  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "layout", "size", "frames"),
    [
        ("B,80,T", Layout.FEATURES_FIRST, 80, None),
        ("B,T,80", Layout.TIME_FIRST, 80, None),
        ("1,128,3000", Layout.FEATURES_FIRST, 128, 3000),
        ("1,1000,80", Layout.TIME_FIRST, 80, 1000),
        ("B,T,512", Layout.TIME_FIRST, 512, None),
        ("1,80,64", Layout.FEATURES_FIRST, 80, 64),
        ("1,128,80", Layout.TIME_FIRST, 80, 128),
    ],
)
def test_features(shape: str, layout: Layout, size: int, frames: int | None) -> None:
    found = interface(f"float[{shape}] features, int64[B] length")
    assert (found.layout, found.n_features, found.frames) == (layout, size, frames)
    assert found.lengths is not None
    assert found.lengths.name == "length"
    assert found.logprobs.name == "logprobs"
    assert found.mask is None
    first = layout is Layout.FEATURES_FIRST
    assert found.input_shapes(2, 50) == {
        "features": (2, size, 50) if first else (2, 50, size),
        "length": (2,),
    }


@pytest.mark.parametrize("dtype", ["bool", "int64"])
def test_a_mask(dtype: str) -> None:
    found = interface(f"float[B,T,80] features, {dtype}[B,T] attention_mask")
    assert found.mask is not None
    assert found.lengths is None
    assert found.input_shapes(2, 50)["attention_mask"] == (2, 50)


def test_what_is_handed_on_is_no_feature_input() -> None:
    found = interface(
        "float[1,80,4] features, float[1,80,64] audio_signal",
        f"{OUTPUT}, float[1,80,4] next_features",
    )
    assert found.features.name == "audio_signal"
    assert [cache.input.name for cache in found.caches] == ["features"]
    bare = interface("float[B,T,80] input", "float[B,S,29] output")
    assert (bare.features.name, bare.caches) == ("input", ())


def test_caches_and_output_lengths() -> None:
    found = interface(
        "float[B,T,80] features, float[4,B,H,D] keys, float[4,B,C,7] states, int64[B] offset",
        f"{OUTPUT}, int64[B] lengths, float[4,B,C,7] new_states, float[4,B,G,D] new_keys",
    )
    pairs = [(c.input.name, c.output.name if c.output else None) for c in found.caches]
    assert pairs == [("keys", "new_keys"), ("states", "new_states")]
    assert found.output_lengths is not None
    assert found.output_lengths.name == "lengths"


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ("float[B,3,224,224] features", "the model takes images"),
        ("int64[B,T] features", "the model takes numbers of tokens"),
        ("int64[B,T] features, int64[B,T] mask", "the model takes numbers of tokens"),
        ("float[B,N] features", "the model takes raw audio or single vectors"),
        ("float[B,T,U] features", "no input of the model is floating-point features"),
        ("float[4,300,300] features", "no input of the model is floating-point features"),
        ("float features", "no input of the model is floating-point features"),
    ],
)
def test_what_is_no_speech_model(inputs: str, sentence: str) -> None:
    with pytest.raises(ConfpressError) as error:
        interface(inputs)
    message = str(error.value)
    assert message.startswith(sentence)
    assert "features" in message.split(": its inputs are ")[1]
    assert "\n" not in message


def test_a_model_without_scores() -> None:
    with pytest.raises(ConfpressError, match="no floating-point output"):
        interface("float[B,T,80] features", "int64[B] logprobs")
