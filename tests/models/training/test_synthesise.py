from __future__ import annotations

import shutil
from random import Random

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the extra `train` is not installed")

from confpress.models.training.synthesise import (
    CALIBRATION_VARIANTS,
    HELD_OUT_VARIANTS,
    TRAINING_VARIANTS,
    Voice,
    pronounceable,
    random_voice,
    speak,
)
from confpress.passes.errors import ConfpressError

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="needs the program espeak-ng"
)


@needs_espeak
def test_speech_has_the_sample_rate_and_follows_the_speed() -> None:
    slow = speak("one two three", Voice("en-us", speed=120))
    fast = speak("one two three", Voice("en-us", speed=200))
    assert slow.dtype == np.float32
    assert 0.8 * 16000 < fast.size < slow.size < 4 * 16000
    assert 0.05 < np.abs(slow).max() <= 1.0


@needs_espeak
def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(ConfpressError, match="cannot speak with the voice 'xx-klingon'"):
        speak("one", Voice("xx-klingon"))


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfpressError, match="espeak-ng, which is not installed"):
        speak("one", Voice("en-us"))


def test_the_letter_a_is_told_from_the_article() -> None:
    assert pronounceable("m a r k") == "m [[eI]] r k"
    assert pronounceable("a") == "[[eI]]"
    assert pronounceable("i saw a dog") == "i saw a dog"


def test_held_out_voices_are_not_trained_on() -> None:
    held_out = HELD_OUT_VARIANTS + CALIBRATION_VARIANTS
    assert len(set(held_out)) == len(held_out)
    assert not set(held_out) & set(TRAINING_VARIANTS)


def test_voices_repeat_with_the_seed() -> None:
    assert random_voice(Random(1), TRAINING_VARIANTS) == random_voice(Random(1), TRAINING_VARIANTS)
