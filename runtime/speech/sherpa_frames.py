"""Windows as sherpa-onnx cuts them for NeMo's models; numpy alone.

They follow Kaldi (kaldi-native-fbank, `snip_edges = false`): centred half a hop later than NeMo's,
the signal mirrored at both ends, pre-emphasis within each window, and a periodic Hann window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def sherpa_frame_count(samples: int, hop_length: int) -> int:
    """Number of frames of so many samples: whole hops, rounded to the nearest."""
    return max((samples + hop_length // 2) // hop_length, 1)


def sherpa_windows(
    audio: FloatArray, preemphasis: float, window_length: int, hop_length: int
) -> FloatArray:
    """Windowed pieces of a signal.

    Args:
        audio: float32 [samples].
        preemphasis: Part of the sample before that is taken off.
        window_length: Samples of a window.
        hop_length: Samples between two windows.

    Returns:
        float32 [frames, window_length].
    """
    frames = sherpa_frame_count(audio.size, hop_length)
    first = hop_length // 2 - window_length // 2
    places = first + hop_length * np.arange(frames)[:, None] + np.arange(window_length)
    windows = audio[_mirrored(places, audio.size)]
    before = np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)
    periodic_hann = np.hanning(window_length + 1)[:-1].astype(np.float32)
    emphasised = windows - np.float32(preemphasis) * before
    return np.asarray(emphasised * periodic_hann, dtype=np.float32)


def _mirrored(places: npt.NDArray[np.int64], samples: int) -> npt.NDArray[np.int64]:
    """Places in a signal that goes on as its mirror image, the edge sample repeated."""
    folded = places % (2 * samples)
    return np.minimum(folded, 2 * samples - 1 - folded)
