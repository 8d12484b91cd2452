"""Audio files, through libsndfile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from ...passes.errors import ConfpressError

SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".sph")


def read_audio(path: Path | str, sample_rate: int) -> npt.NDArray[np.float32]:
    """Read a mono audio file.

    Returns:
        float32 [samples], full scale 1.0.

    Raises:
        ConfpressError: the file is missing, cannot be decoded, is empty, has several channels,
            another sample rate than `sample_rate`, or samples that are no numbers.
    """
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error
    if rate != sample_rate:
        raise ConfpressError(
            f"{path} has {rate} samples per second, but the model's front end takes {sample_rate}."
        )
    if samples.shape[1] != 1:
        raise ConfpressError(f"{path} has {samples.shape[1]} channels, but mono audio is needed.")
    if samples.shape[0] == 0:
        raise ConfpressError(f"{path} has no samples.")
    if not np.isfinite(samples).all():
        raise ConfpressError(f"{path} has samples that are infinite or no numbers.")
    return np.ascontiguousarray(samples[:, 0])


def audio_seconds(path: Path | str) -> float:
    """Duration from the file's header, in seconds.

    Raises:
        ConfpressError: the file is missing or cannot be decoded.
    """
    try:
        return float(soundfile.info(str(path)).duration)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path | str, error: Exception) -> ConfpressError:
    """Why there is no audio; libsndfile calls a missing file a system error."""
    if not Path(path).exists():
        return ConfpressError(f"there is no audio file {path}.")
    return ConfpressError(f"{path} is not audio that can be read: {error}")
