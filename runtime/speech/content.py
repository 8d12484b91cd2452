"""What recordings hold, as hashes: a copy is known under any name and in any container."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...passes.errors import ConfpressError
from ..progress import progress
from .audio import read_audio
from .manifest import Utterance


def audio_digest(path: Path | str, sample_rate: int) -> str:
    """A hash of the samples, in hexadecimal.

    Raises:
        ConfpressError: as `read_audio`.
    """
    return hashlib.sha256(read_audio(path, sample_rate).data).hexdigest()


def audio_digests(utterances: Sequence[Utterance], sample_rate: int) -> dict[Path, str]:
    """`audio_digest` of every recording, by path.

    Raises:
        ConfpressError: as `read_audio`.
    """
    found = {}
    with progress("Reading speech", sum(u.seconds for u in utterances), "s of speech") as advance:
        for utterance in utterances:
            found[utterance.path] = audio_digest(utterance.path, sample_rate)
            advance(utterance.seconds)
    return found


def refuse_overlap(uses: Mapping[str, Sequence[Utterance]], digests: Mapping[Path, str]) -> None:
    """Refuses recordings that serve two uses, such as setting ranges and judging them.

    Args:
        uses: The recordings of each use, by its name.
        digests: `audio_digests` of all of them.

    Raises:
        ConfpressError: two uses share audio.
    """
    seen: dict[str, tuple[str, Utterance]] = {}
    for use, utterances in uses.items():
        for utterance in utterances:
            other, first = seen.setdefault(digests[utterance.path], (use, utterance))
            if other != use:
                raise ConfpressError(_overlap(first, other, utterance, use))


def _overlap(first: Utterance, use: str, second: Utterance, other: str) -> str:
    both = f"both the {use} and the {other} speech"
    remedy = "keep them apart (--subset, or other folders)."
    if first.path.resolve() == second.path.resolve():
        return f"{second.path} is in {both}; {remedy}"
    return f"{first.path} and {second.path} hold the same audio, so that it is in {both}; {remedy}"
