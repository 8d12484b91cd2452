"""Versions of a recording that training hears: at other speeds, with others speaking, in rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from .augment import FloatArray, add_noise, add_reverberation, add_speech, change_speed


class HearingConfig(BaseModel):
    """How recordings are heard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speeds: tuple[Annotated[float, Field(ge=0.5, le=2)], ...] = Field(
        default=(0.9, 1.0, 1.1),
        min_length=1,
        description="every recording is heard at these; an epoch is as long as with one",
    )
    mixed: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the versions through which another recording is heard",
    )
    mixture: tuple[Annotated[float, Field(ge=-20)], Annotated[float, Field(le=100)]] = Field(
        default=(0.0, 20.0), description="least and most that the other is softer by, in dB"
    )
    disturbed: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the versions that are heard in noise, and of those that are heard "
        "in a room",
    )
    noise: tuple[Annotated[float, Field(ge=-20)], Annotated[float, Field(le=100)]] = Field(
        default=(5.0, 30.0), description="lowest and highest ratio of signal to noise, in dB"
    )
    reverberation: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(le=10)]] = Field(
        default=(0.1, 0.5), description="seconds until a room's echo has fallen by 60 dB"
    )
    seed: int = Field(default=1, description="of mixtures, noise and rooms")

    @field_validator("mixture", "noise", "reverberation")
    @classmethod
    def _check(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if ends[0] > ends[1]:
            raise ValueError("the lower end comes first")
        return ends


#: Every recording once, as it is.
AS_THEY_ARE = HearingConfig(speeds=(1.0,), mixed=0.0, disturbed=0.0)


def versions(
    audio: FloatArray,
    other: Callable[[], FloatArray],
    sample_rate: int,
    config: HearingConfig,
    random: np.random.Generator,
) -> Iterator[FloatArray]:
    """A recording as it is heard: float32 [samples] each, one for every speed.

    Args:
        audio: The recording, float32 [samples].
        other: Gives another one each time.
        sample_rate: Of both, in Hz.
        config: What may happen to it.
        random: Decides what does.
    """
    for speed in config.speeds:
        version = audio if speed == 1 else change_speed(audio, speed)
        if random.random() < config.mixed:
            version = add_speech(version, other(), random.uniform(*config.mixture), random)
        if random.random() < config.disturbed:
            seconds = random.uniform(*config.reverberation)
            version = add_reverberation(version, seconds, sample_rate, random)
        if random.random() < config.disturbed:
            version = add_noise(version, random.uniform(*config.noise), random)
        yield version
