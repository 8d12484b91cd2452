"""WAV files, through the standard library."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...passes.errors import ConfpressError

# Little-endian integers by bytes a sample; 8 bits are unsigned, 24 bits have no numpy type.
_DTYPES = {1: "u1", 2: "<i2", 4: "<i4"}


def read_wave(path: Path, sample_rate: int) -> npt.NDArray[np.float32]:
    """Read a mono WAV file of 8, 16, 24 or 32 bit integers.

    Returns:
        float32 [samples], full scale 1.0.

    Raises:
        ConfpressError: the file is not such a file, is empty, or has another sample rate.
    """
    try:
        with wave.open(str(path), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except OSError as error:
        raise ConfpressError(f"cannot read {path}: {error.strerror}.") from error
    except (EOFError, wave.Error) as error:
        reason = str(error) or "it is cut off"
        raise ConfpressError(f"{path} is not a WAV file of integer samples: {reason}.") from error
    if rate != sample_rate:
        raise ConfpressError(
            f"{path} has {rate} samples per second, but the model's front end takes {sample_rate}."
        )
    if channels != 1:
        raise ConfpressError(f"{path} has {channels} channels, but mono audio is needed.")
    if not data:
        raise ConfpressError(f"{path} has no samples.")
    return _to_float(data, width)


def _to_float(data: bytes, width: int) -> npt.NDArray[np.float32]:
    if width == 3:
        # The upper three bytes of 32-bit samples.
        padded = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        padded[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        data, width = padded.tobytes(), 4
    samples = np.frombuffer(data, dtype=_DTYPES[width]).astype(np.float64)
    scaled = (samples - 128) / 128 if width == 1 else samples / 2.0 ** (8 * width - 1)
    return scaled.astype(np.float32)
