"""What models heard, kept utterance by utterance: an interrupted transcription goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cache import Cache
from ..fingerprint import digest, model_digest, program_digest
from ..session import SessionOptions
from ..speech.manifest import Utterance
from .asr import AsrModel, Transcript


class KnownTranscripts:
    """One model's transcripts by the audio that they are of.

    Batches are known as a whole: what runs together may change what is heard.

    Args:
        cache: Where they are kept.
        name: The file's, which stands for the model and how it is run.
        content: Hash of the audio of every recording, by path.
    """

    def __init__(self, cache: Cache, name: str, content: Mapping[Path, str]) -> None:
        self._cache = cache
        self._name = name
        self._content = content
        self._heard: dict[str, list[tuple[str, list[int]]]] = {}
        self._used = 0
        for entry in cache.entries(name):
            try:
                heard = [(str(text), [int(t) for t in tokens]) for text, tokens in entry["heard"]]
                self._heard[entry["audio"]] = heard
            except (KeyError, TypeError, ValueError):
                cache.ignored(name)

    def of(self, batch: Sequence[Utterance]) -> list[Transcript] | None:
        """The transcripts of a batch; None where it was not heard before."""
        heard = self._heard.get(self._key(batch))
        if heard is None or len(heard) != len(batch):
            return None
        self._used += len(batch)
        return [
            Transcript(utterance.id, text, tuple(tokens))
            for utterance, (text, tokens) in zip(batch, heard, strict=True)
        ]

    def keep(self, batch: Sequence[Utterance], heard: Sequence[Transcript]) -> None:
        """Keeps the transcripts of a batch."""
        entry = {"audio": self._key(batch), "heard": [[t.text, t.tokens] for t in heard]}
        self._cache.append(self._name, entry)

    def tell(self, model: Path, utterances: int) -> None:
        """Says how much was known."""
        if self._used:
            self._cache.tell(
                f"{self._used} of {utterances} transcripts of {model} are known from an earlier "
                "run (--no-cache transcribes again)."
            )

    def _key(self, batch: Sequence[Utterance]) -> str:
        return digest([self._content[utterance.path] for utterance in batch])


@dataclass(frozen=True)
class SpeechCache:
    """What models heard in recordings.

    Attributes:
        cache: Where it is kept.
        content: Hash of the audio of every recording, by path.
    """

    cache: Cache
    content: Mapping[Path, str]

    def of(self, model: AsrModel, options: SessionOptions) -> KnownTranscripts:
        """What a model heard when it was run so."""
        key = digest(
            program_digest(),
            [model_digest(path) for path in model.files],
            dataclasses.replace(model.interface, model=""),
            model.frontend,
            model.tokens,
            options,
        )
        return KnownTranscripts(self.cache, f"heard-{key}.jsonl", self.content)
