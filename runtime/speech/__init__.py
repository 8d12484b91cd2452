"""Speech in, words out: audio, features, manifests, decoding and error rates."""

from __future__ import annotations

from .audio import read_audio
from .decode import Tokens, greedy_ctc
from .frontend import FrontEnd
from .manifest import Utterance, load_utterances
from .wer import ErrorCounts, Interval, character_errors, word_errors

__all__ = [
    "ErrorCounts",
    "FrontEnd",
    "Interval",
    "Tokens",
    "Utterance",
    "character_errors",
    "greedy_ctc",
    "load_utterances",
    "read_audio",
    "word_errors",
]
