"""Greedy transducer search (Graves 2012): a decoder that knows the tokens so far, and a joiner.

Two families of exports are known by their inputs. Stateless decoders (Ghodsi et al. 2020; icefall)
read the last few tokens, int [batch, context]; frames give one token at most. Decoders with states
(NeMo) read the last token and an LSTM's states; frames give up to ten. Both begin with the blank,
stateless ones behind -1, which stands for no token.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ..passes.errors import ConfpressError
from .interface import FloatArray
from .model_file import model_files
from .session import create_session, run_session

Array = npt.NDArray[Any]

ENCODER, DECODER, JOINER = "encoder", "decoder", "joiner"
# NeMo's joiner is also called joint; encoder-epoch-30-avg-1.onnx, model-encoder.onnx.
_NAMES = {ENCODER: ("encoder",), DECODER: ("decoder",), JOINER: ("joiner", "joint")}
_PATTERNS = ("{0}.onnx", "{0}[-_.]*.onnx", "*[-_.]{0}.onnx")
# Smaller copies that lie beside the original.
_COPIES = (".int8.onnx", ".fp16.onnx")
_JOINED = "decoder_joint"

_NO_TOKEN = -1
_MOST_STATELESS, _MOST_WITH_STATES = 1, 10
_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def find_parts(folder: Path) -> dict[str, Path]:
    """The three files of a transducer, by `encoder`, `decoder`, `joiner`.

    Raises:
        ConfpressError: one is missing, or several could be it.
    """
    return {part: _find(folder, part) for part in _NAMES}


def _find(folder: Path, part: str) -> Path:
    for pattern in _PATTERNS:
        found = sorted(
            path
            for name in _NAMES[part]
            for path in folder.glob(pattern.format(name))
            if not path.name.endswith(_COPIES) and _JOINED not in path.name
        )
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfpressError(
                f"{folder} has several files that could be the {part}: "
                f"{', '.join(path.name for path in found)}; leave one of them there."
            )
    looked = " or ".join(f"{n}.onnx, {n}-*.onnx, *-{n}.onnx" for n in _NAMES[part])
    joined = next(folder.glob(f"*{_JOINED}*.onnx"), None)
    hint = "" if joined is None else f" ({joined.name} holds two in one; export them apart)"
    raise ConfpressError(
        f"{folder} is taken for a transducer of three files and has no {part}: looked for "
        f"{looked}{hint}."
    )


@dataclass(frozen=True)
class GreedyTransducer:
    """Decoder and joiner, which run once for every token and every frame.

    Attributes:
        decoder: Model of the tokens so far.
        joiner: Model of the next token, or of the blank.
    """

    decoder: Path
    joiner: Path

    @property
    def file(self) -> str:
        """What the encoder's file is called in a result."""
        return f"{ENCODER}.onnx"

    @property
    def files(self) -> Sequence[Path]:
        """Models that the search runs."""
        return self.decoder, self.joiner

    def copy_to(self, folder: Path) -> None:
        """Copies decoder and joiner, under the names by which they are found.

        Raises:
            ConfpressError: a file cannot be read.
        """
        for part, path in ((DECODER, self.decoder), (JOINER, self.joiner)):
            for source in model_files(path):
                name = f"{part}.onnx" if source == path else source.name
                shutil.copyfile(source, folder / name)

    def symbols(self, scores: int | None) -> int | None:
        """How many symbols there are, the blank included.

        Args:
            scores: Channels of the encoder's frames; None where its file does not say.
        """
        size = self._joiner.get_outputs()[0].shape[-1]
        if isinstance(size, int):
            return size
        if scores is None:
            return None
        predicted, _ = self._predictor.start(blank=0)
        return int(self._join(np.zeros(scores, np.float32), predicted).shape[-1])

    def best_path(self, scores: FloatArray, blank: int) -> list[int]:
        """Token ids.

        Args:
            scores: The encoder's frames, float32 [frames, channels].
            blank: Id of the blank.

        Raises:
            ConfpressError: decoder or joiner fails.
        """
        predictor = self._predictor
        found: list[int] = []
        predicted, states = predictor.start(blank)
        for frame in scores:
            for _ in range(predictor.most):
                token = int(self._join(frame, predicted).argmax())
                if token == blank:
                    break
                found.append(token)
                predicted, states = predictor.step(found, blank, states)
        return found

    def _join(self, frame: FloatArray, predicted: Array) -> Array:
        """Scores of the next symbol, [1, vocabulary] or with more axes of size one."""
        feeds = {
            given.name: _fit(vector, given)
            for given, vector in zip(self._joiner.get_inputs(), (frame, predicted), strict=True)
        }
        return run_session(self._joiner, feeds)[0]

    @cached_property
    def _joiner(self) -> ort.InferenceSession:
        session = create_session(self.joiner)
        if len(session.get_inputs()) != 2:
            raise ConfpressError(
                f"{self.joiner} takes {', '.join(i.name for i in session.get_inputs())}, and a "
                "joiner takes a frame of the encoder and what the decoder gives."
            )
        return session

    @cached_property
    def _predictor(self) -> _Predictor:
        return _Predictor.start_session(self.decoder)


@dataclass(frozen=True)
class _Predictor:
    """A decoder's session and what its inputs and outputs mean.

    Attributes:
        session: The session.
        tokens: Input of tokens, int [1, context].
        context: How many.
        length: Input of their number, int [1], where there is one.
        states: Inputs of states, with the outputs that hand them on.
        most: Tokens that a frame may give.
    """

    session: ort.InferenceSession
    tokens: ort.NodeArg
    context: int
    length: ort.NodeArg | None
    states: Sequence[tuple[ort.NodeArg, str]]
    most: int

    @classmethod
    def start_session(cls, path: Path) -> _Predictor:
        """Loads a decoder.

        Raises:
            ConfpressError: its inputs are not tokens and states.
        """
        session = create_session(path)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        tokens = [i for i in inputs if i.type in _TYPES and len(i.shape) == 2]
        lengths = [i for i in inputs if i.type in _TYPES and len(i.shape) == 1]
        states = [i for i in inputs if i.type == "tensor(float)"]
        following = [o.name for o in outputs[1:] if o.type == "tensor(float)"]
        known = len(tokens) + len(lengths) + len(states)
        if len(tokens) != 1 or known != len(inputs) or len(states) != len(following):
            raise ConfpressError(
                f"{path} takes {', '.join(i.name for i in inputs)} and gives "
                f"{', '.join(o.name for o in outputs)}; a decoder takes tokens [batch, context] "
                "and, where it has states, gives as many as it takes."
            )
        size = tokens[0].shape[1]
        return cls(
            session,
            tokens[0],
            1 if states else size if isinstance(size, int) else _context(session, path),
            lengths[0] if lengths else None,
            list(zip(states, following, strict=True)),
            _MOST_WITH_STATES if states else _MOST_STATELESS,
        )

    def start(self, blank: int) -> tuple[Array, list[Array]]:
        """What it gives before the first token, and its states."""
        return self.step([], blank, [_zeros(given) for given, _ in self.states])

    def step(
        self, found: Sequence[int], blank: int, states: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """What it gives after the tokens found, and its next states."""
        begun = [*[_NO_TOKEN] * (self.context - 1), blank, *found]
        last = np.array([begun[-self.context :]], _TYPES[self.tokens.type])
        feeds = {self.tokens.name: last}
        if self.length is not None:
            feeds[self.length.name] = np.array([self.context], _TYPES[self.length.type])
        feeds |= {g.name: state for (g, _), state in zip(self.states, states, strict=True)}
        names = [self.session.get_outputs()[0].name, *(name for _, name in self.states)]
        predicted, *following = run_session(self.session, feeds, names)
        return predicted, following


def _context(session: ort.InferenceSession, path: Path) -> int:
    text = session.get_modelmeta().custom_metadata_map.get("context_size", "")
    if not text.isdigit() or not int(text):
        raise ConfpressError(
            f"{path} says neither by its input's size nor by `context_size` in its metadata how "
            "many tokens it reads."
        )
    return int(text)


def _zeros(given: ort.NodeArg) -> Array:
    """An LSTM's first state: sizes that are open are the batch, one."""
    return np.zeros([size if isinstance(size, int) else 1 for size in given.shape], np.float32)


def _fit(vector: Array, given: ort.NodeArg) -> Array:
    """One frame in the layout of an input: [1, C], [1, C, 1] or [1, 1, C]."""
    shape = [1] * len(given.shape)
    channels = [axis for axis, size in enumerate(given.shape) if size == vector.size]
    shape[channels[-1] if channels else 1] = vector.size
    return np.asarray(vector, np.float32).reshape(shape)
