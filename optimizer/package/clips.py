"""Speech that packages are checked with: the demo's clips as WAV files."""

from __future__ import annotations

from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from ...runtime.speech.manifest import Utterance, load_utterances
from ..demo import TEST_CLIPS, demo_folder

#: Enough to hear every kernel at several lengths, and quick.
_CLIPS = 4


def write_clips(folder: Path, sample_rate: int) -> list[Utterance]:
    """Writes some clips as 16-bit WAV.

    Args:
        folder: An existing folder.
        sample_rate: Samples per second that the model takes.

    Raises:
        ConfpressError: the installation lacks the clips.
    """
    clips = load_utterances(demo_folder() / "clips", TEST_CLIPS)[:_CLIPS]
    written = []
    for clip in clips:
        audio, rate = soundfile.read(clip.path, dtype="float32")
        if rate != sample_rate:
            divisor = gcd(rate, sample_rate)
            audio = resample_poly(audio, sample_rate // divisor, rate // divisor)
        path = folder / f"{clip.id}.wav"
        soundfile.write(path, np.clip(audio, -1, 1), sample_rate, subtype="PCM_16")
        written.append(Utterance(clip.id, path, audio.size / sample_rate))
    return written
