"""Synthetic speech from espeak-ng, with many voices, speeds and pitches.

espeak-ng (GPL-3.0 or later) is run as a program and is no part of this package.
"""

from __future__ import annotations

import io
import math
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import resample_poly

from ...passes.errors import ConfpressError

FloatArray = npt.NDArray[np.float32]


def _variants(names: str) -> tuple[str, ...]:
    return tuple(names.split())


ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc")
TRAINING_VARIANTS = _variants(
    "m1 m2 m3 m4 m6 m7 m8 f1 f2 f4 f5 Alex Alicia Andrea Denis Gene Hugo Jacky Lee Marco "
    "Michael Mike adam anika antonio aunty belinda benjamin caleb david ed grandma grandpa iven "
    "iven2 john linda max michel miguel pablo paul pedro quincy rob robert sandro shelby steph2 "
    "travis victor zac klatt2 klatt3"
)
# Never heard in training: the demo's clips are spoken by the former, and the clips that
# calibrate it by the latter.
HELD_OUT_VARIANTS = _variants("m5 f3 Andy Annie edward steph")
CALIBRATION_VARIANTS = _variants("Gene2 Henrique iven3 steph3 Diogo Mario")


@dataclass(frozen=True)
class Voice:
    """How espeak-ng speaks: language and variant, words per minute, pitch 0 to 99."""

    name: str
    speed: int = 160
    pitch: int = 50
    gap: int = 0


def random_voice(random: Random, variants: Sequence[str]) -> Voice:
    """A voice of one of the variants; every second one is American."""
    accent = "en-us" if random.random() < 0.5 else random.choice(ACCENTS)
    return Voice(
        name=f"{accent}+{random.choice(variants)}",
        speed=random.randint(115, 210),
        pitch=random.randint(25, 75),
        gap=random.choice((0, 0, 2, 6)),
    )


def speak(text: str, voice: Voice, sample_rate: int = 16000) -> FloatArray:
    """Synthesise `text`.

    Returns:
        float32 [samples] at `sample_rate`.

    Raises:
        ConfpressError: espeak-ng is not installed or refuses the voice.
    """
    command = ["espeak-ng", "--stdout", "-v", voice.name, "-s", str(voice.speed)]
    command += ["-p", str(voice.pitch), "-g", str(voice.gap), pronounceable(text)]
    try:
        spoken = subprocess.run(command, capture_output=True, check=True)
        samples, rate = soundfile.read(io.BytesIO(spoken.stdout), dtype="float32")
    except FileNotFoundError as error:
        raise ConfpressError(
            "synthetic speech needs the program espeak-ng, which is not installed."
        ) from error
    except (subprocess.CalledProcessError, soundfile.SoundFileError) as error:
        raise ConfpressError(f"espeak-ng cannot speak with the voice '{voice.name}'.") from error
    return _resample(samples, rate, sample_rate)


def pronounceable(text: str) -> str:
    """Text for espeak-ng: a lone "a" is the letter when other letters stand around it."""
    words = text.split()
    for i, word in enumerate(words):
        beside = words[max(i - 1, 0) : i] + words[i + 1 : i + 2]
        alone = len(words) == 1
        if word == "a" and (alone or any(len(w) == 1 and w != "i" for w in beside)):
            words[i] = "[[eI]]"
    return " ".join(words)


def _resample(samples: FloatArray, rate: int, target: int) -> FloatArray:
    divisor = math.gcd(rate, target)
    return np.asarray(resample_poly(samples, target // divisor, rate // divisor), np.float32)
