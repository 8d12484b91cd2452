from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.inputs import SpeechSource, synthetic_features
from confpress.runtime.speech import FrontEnd, load_utterances


def test_noise_is_seeded_and_has_the_statistics_of_normalised_features() -> None:
    noise = synthetic_features(80, 2000, seed=3)
    assert noise.dtype == np.float32
    assert np.array_equal(noise, synthetic_features(80, 2000, seed=3))
    assert not np.array_equal(noise, synthetic_features(80, 2000, seed=4))
    assert np.abs(noise.mean(axis=1)).max() < 0.01
    assert np.abs(noise.std(axis=1) - 1).max() < 0.01
    neighbours = np.mean(noise[:, 1:] * noise[:, :-1])
    assert 0.8 < neighbours < 0.95


@pytest.mark.parametrize("frames", [1, 37, 50, 400])
def test_speech_of_any_length_is_joined(speech_folder: Path, frames: int) -> None:
    """The three recordings last 2.4 s; longer features begin again with the first."""
    source = SpeechSource(FrontEnd(), load_utterances(speech_folder))
    first, second = source.features(frames), source.features(frames, index=1)
    assert first.shape == second.shape == (80, frames)
    assert frames == 1 or not np.array_equal(first, second)


def test_batches_are_ragged_on_request(speech_folder: Path) -> None:
    source = SpeechSource(FrontEnd(), load_utterances(speech_folder))
    assert source.frames(1.0) == 100
    assert [f.shape[1] for f in source.batch(100, 3)] == [100, 100, 100]
    assert [f.shape[1] for f in source.batch(100, 3, ragged=True)] == [100, 75, 50]
    assert [f.shape[1] for f in SpeechSource(FrontEnd()).batch(100, 1, ragged=True)] == [100]
    with pytest.raises(ConfpressError, match="is empty"):
        source.batch(100, 0)
