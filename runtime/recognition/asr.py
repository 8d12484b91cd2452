"""A CTC model or a transducer as a recogniser: features in, text out.

The model comes with its front end and tokens, which lie beside it as small files. A transducer is
a folder of three models, of which the encoder is the one that is optimised and measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnxruntime as ort

from ...passes.errors import ConfpressError
from ...passes.rewrites.attention.positions import MAX_FRAMES_KEY
from ..interface import FloatArray, Interface, read_interface
from ..model_file import load_model
from ..progress import progress
from ..runner import Runner
from ..speech.audio import read_audio
from ..speech.decode import Tokens
from ..speech.frontend import FILE_NAME as FRONTEND_NAME
from ..speech.frontend import FrontEnd
from ..speech.manifest import Utterance
from .ctc import GreedyCtc
from .transducer import DECODER, ENCODER, JOINER, GreedyTransducer, find_parts

if TYPE_CHECKING:
    from .transcripts import KnownTranscripts

TOKENS_NAME = "tokens.txt"
# Lengths, in feature frames, at which the subsampling of a model is measured.
_PROBE_FRAMES = (64, 128)


class Search(Protocol):
    """How a network's scores become tokens."""

    @property
    def file(self) -> str:
        """What the network's file is called in a result."""

    @property
    def files(self) -> Sequence[Path]:
        """Models that the search runs besides the network."""

    def copy_to(self, folder: Path) -> None:
        """Copies these models into a result, so that it runs alone."""

    def symbols(self, scores: int | None) -> int | None:
        """How many symbols there are where a frame has so many scores; None where unknown."""

    def best_path(self, scores: FloatArray, blank: int) -> list[int]:
        """Token ids of one utterance's scores, float32 [frames, vocabulary or channels]."""


@dataclass(frozen=True)
class AsrModel:
    """A model with what it needs to hear and to spell.

    Attributes:
        path: The ONNX file; of a transducer the encoder's.
        interface: Its inputs and outputs.
        frontend: How its features are made.
        tokens: Its vocabulary; None where no token table was found.
        frontend_path: Where the front end was read from; None means the default one.
        max_encoder_frames: The longest utterance that its position table serves, in frames after
            subsampling; None is any.
        search: How scores become tokens.
    """

    path: Path
    interface: Interface
    frontend: FrontEnd
    tokens: Tokens | None
    frontend_path: Path | None
    max_encoder_frames: int | None
    search: Search = field(default_factory=GreedyCtc)

    @classmethod
    def load(
        cls,
        path: Path | str,
        frontend: FrontEnd | Path | str | None = None,
        tokens: Tokens | Path | str | None = None,
        chunk_seconds: float | None = None,
        search: Search | None = None,
    ) -> AsrModel:
        """Find what belongs to a model: a CTC model's file, or the folder of a transducer.

        `<stem>.frontend.json` or `frontend.json`, and `<stem>.tokens.txt` or `tokens.txt`, are
        looked for beside the model and in the folder above. Without a front end the default one
        is taken if its number of features is the model's. `chunk_seconds` is for streaming models
        that do not say how far it is from one chunk to the next; `search` is for an encoder whose
        transducer is known.

        Raises:
            ConfpressError: a file is missing or broken, the model's inputs are not features,
                front end, tokens and model do not fit together, or chunks are asked of a model
                that takes whole utterances.
        """
        path = Path(path)
        if path.is_dir():
            parts = find_parts(path)
            path, search = parts[ENCODER], GreedyTransducer(parts[DECODER], parts[JOINER])
        frontend_path = None
        if not isinstance(frontend, FrontEnd):
            frontend_path = Path(frontend) if frontend else _beside(path, FRONTEND_NAME)
            frontend = FrontEnd.load(frontend_path) if frontend_path else FrontEnd()
        if not isinstance(tokens, Tokens):
            tokens_path = Path(tokens) if tokens else _beside(path, TOKENS_NAME)
            tokens = Tokens.load(tokens_path) if tokens_path else None
        return cls._of(path, frontend, frontend_path, tokens, search or GreedyCtc(), chunk_seconds)

    def run_seconds(self, seconds: float) -> float:
        """So many seconds of audio, or those of the one window that the model takes."""
        window = self.interface.window
        return seconds if window is None else window * self.frontend.seconds_per_frame

    @classmethod
    def _of(
        cls,
        path: Path,
        frontend: FrontEnd,
        frontend_path: Path | None,
        tokens: Tokens | None,
        search: Search,
        chunk_seconds: float | None = None,
    ) -> AsrModel:
        """A model with what belongs to it; raises as `load` where they do not fit together."""
        model = load_model(path)
        interface = dataclasses.replace(
            read_interface(model, name=str(path)), encoder=bool(search.files)
        )
        if interface.mels != frontend.n_mels:
            origin = f"{frontend_path}" if frontend_path else "the default front end"
            raise ConfpressError(
                f"{path} takes {interface.mels} features a frame, but {origin} makes "
                f"{frontend.n_mels}; describe the front end in {FRONTEND_NAME} beside the model."
            )
        if chunk_seconds is not None:
            if not interface.states:
                raise ConfpressError(
                    f"{path} takes whole utterances: none of its inputs is a state that one of its "
                    "outputs hands on, so it has no chunks."
                )
            shift = max(round(chunk_seconds / frontend.seconds_per_frame), 1)
            interface = dataclasses.replace(interface, chunk_shift=shift)
        limit = model.metadata_props.get(MAX_FRAMES_KEY)
        longest = int(limit) if limit else None
        loaded = cls(path, interface, frontend, tokens, frontend_path, longest, search)
        loaded._check_vocabulary(interface.vocabulary)
        return loaded

    @property
    def files(self) -> tuple[Path, ...]:
        """Every model that takes part in what it hears."""
        return (self.path, *self.search.files)

    def with_model(self, path: Path) -> AsrModel:
        """The same recogniser with another file for its model or encoder.

        Raises:
            ConfpressError: as `load`.
        """
        return self._of(path, self.frontend, self.frontend_path, self.tokens, self.search)

    def scores(
        self, session: ort.InferenceSession, batch: Sequence[FloatArray]
    ) -> list[FloatArray]:
        """Scores of a batch without the padding, as `Runner.scores`."""
        return Runner(self.interface, session).scores(batch)

    def decode(self, scores: FloatArray) -> tuple[list[int], str]:
        """The token ids and the text of the best path.

        Raises:
            ConfpressError: the model has no tokens, or another number of them.
        """
        if self.tokens is None:
            raise ConfpressError(
                f"{self.path} has no {TOKENS_NAME} beside it, so its output cannot be spelled."
            )
        self._check_vocabulary(scores.shape[-1])
        ids = self.search.best_path(scores, self.tokens.blank)
        return ids, self.tokens.text(ids)

    def longest_seconds(self, session: ort.InferenceSession) -> float | None:
        """The longest audio that the position table serves, in seconds; None is any length.

        A streaming model's table serves a chunk, so that it takes any length.
        """
        if self.max_encoder_frames is None or self.interface.states:
            return None
        short, long = (self._encoder_frames(session, frames) for frames in _PROBE_FRAMES)
        if long <= short:
            return None
        subsampling = (_PROBE_FRAMES[1] - _PROBE_FRAMES[0]) / (long - short)
        return self.max_encoder_frames * subsampling * self.frontend.seconds_per_frame

    def _encoder_frames(self, session: ort.InferenceSession, frames: int) -> int:
        silence = np.zeros((self.interface.mels, frames), dtype=np.float32)
        return len(self.scores(session, [silence])[0])

    def _check_vocabulary(self, scores: int | None) -> None:
        given = self.search.symbols(scores)
        if self.tokens is None or given is None:
            return
        needed = max(len(self.tokens.pieces), self.tokens.blank + 1)
        if given != needed:
            raise ConfpressError(
                f"{self.files[-1]} gives {given} scores a frame, but its tokens are {needed} with "
                "the blank; give those of this model by --tokens, or as tokens.txt beside it."
            )


@dataclass(frozen=True)
class Transcript:
    """What a model heard in one utterance."""

    id: str
    text: str
    tokens: tuple[int, ...]


@dataclass
class FeatureCache:
    """Features of utterances, computed once and kept up to a number of bytes."""

    frontend: FrontEnd
    limit_bytes: int = 2**30
    _kept: dict[Path, FloatArray] = field(default_factory=dict)
    _bytes: int = 0

    def get(self, utterance: Utterance) -> FloatArray:
        """float32 [mels, frames].

        Raises:
            ConfpressError: the audio cannot be read or does not fit the front end.
        """
        kept = self._kept.get(utterance.path)
        if kept is not None:
            return kept
        audio = read_audio(utterance.path, self.frontend.sample_rate)
        features = self.frontend.features(audio)
        if self._bytes + features.nbytes <= self.limit_bytes:
            self._kept[utterance.path] = features
            self._bytes += features.nbytes
        return features


def transcribe(
    model: AsrModel,
    session: ort.InferenceSession,
    utterances: Sequence[Utterance],
    batch_size: int = 1,
    *,
    cache: FeatureCache | None = None,
    known: KnownTranscripts | None = None,
) -> list[Transcript]:
    """Transcribe utterances, greedily.

    Args:
        model: The model.
        session: A session of it.
        utterances: What to transcribe.
        batch_size: Utterances of similar length that run together.
        cache: Features of earlier calls, of the same front end.
        known: What this model was found to hear before; it takes up what is heard now.

    Returns:
        A transcript for each utterance, in their order.

    Raises:
        ConfpressError: audio cannot be read or is longer than the model serves, the model has no
            tokens, or it cannot run batches.
    """
    if batch_size < 1:
        raise ConfpressError(f"the batch size must be at least 1, not {batch_size}.")
    if batch_size > 1 and not (model.interface.knows_padding or model.interface.states):
        raise ConfpressError(
            f"{model.path} takes no lengths, so padding would be heard as speech; use batches of 1."
        )
    if cache is None:
        cache = FeatureCache(model.frontend)
    elif cache.frontend != model.frontend:
        raise ConfpressError(f"{model.path} needs other features than those that are kept.")
    _check_durations(utterances, model.longest_seconds(session))
    found: dict[int, Transcript] = {}
    total = sum(u.seconds for u in utterances)
    with progress(f"Transcribing with {model.path.name}", total, "s of speech") as advance:
        for indices in _batches(utterances, batch_size):
            batch = [utterances[i] for i in indices]
            heard = known.of(batch) if known is not None else None
            if heard is None:
                heard = _hear(model, session, batch, cache)
                if known is not None:
                    known.keep(batch, heard)
            found.update(zip(indices, heard, strict=True))
            advance(sum(u.seconds for u in batch))
    if known is not None:
        known.tell(model.path, len(utterances))
    return [found[i] for i in range(len(utterances))]


def _hear(
    model: AsrModel,
    session: ort.InferenceSession,
    batch: Sequence[Utterance],
    cache: FeatureCache,
) -> list[Transcript]:
    """Transcripts of utterances that run together."""
    scores = model.scores(session, [cache.get(utterance) for utterance in batch])
    decoded = [model.decode(row) for row in scores]
    return [
        Transcript(utterance.id, text, tuple(ids))
        for utterance, (ids, text) in zip(batch, decoded, strict=True)
    ]


def _batches(utterances: Sequence[Utterance], size: int) -> Iterator[list[int]]:
    """Indices in batches; larger batches hold utterances of similar length."""
    order = list(range(len(utterances)))
    if size > 1:
        order.sort(key=lambda i: utterances[i].seconds)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _check_durations(utterances: Iterable[Utterance], longest: float | None) -> None:
    for utterance in utterances:
        if longest is not None and utterance.seconds > longest:
            raise ConfpressError(
                f"{utterance.path} lasts {utterance.seconds:.1f} s, but the model's position table "
                f"was trimmed to {longest:.1f} s of audio."
            )


def _beside(model: Path, name: str) -> Path | None:
    """`<stem>.<name>` or `<name>` in the model's folder or the one above; None without."""
    beside = model.absolute().parent
    for folder in (beside, beside.parent):
        for candidate in (folder / f"{model.stem}.{name}", folder / name):
            if candidate.is_file():
                return candidate
    return None
