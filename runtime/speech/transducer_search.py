"""Greedy transducer search (Graves 2012); numpy and ONNX Runtime alone, so that packages carry it.

A decoder knows the tokens so far, and a joiner scores the next one. Two families of exports are
known by their inputs. Stateless decoders (Ghodsi et al. 2020; icefall) read the last few tokens,
int [batch, context]; frames give one token at most. Decoders with states (NeMo) read the last token
and an LSTM's states; frames give up to ten. Both begin with the blank, stateless ones behind -1,
which stands for no token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ...passes.errors import ConfpressError

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]

_NO_TOKEN = -1
_MOST_STATELESS, _MOST_WITH_STATES = 1, 10
_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


@dataclass(frozen=True)
class TransducerSearch:
    """Decoder and joiner, which run once for every token and every frame.

    Attributes:
        decoder: What the tokens so far make of the next one.
        joiner: Session that scores the next symbol.
    """

    decoder: Predictor
    joiner: ort.InferenceSession

    @classmethod
    def start(cls, decoder: ort.InferenceSession, joiner: ort.InferenceSession) -> TransducerSearch:
        """Finds out what the inputs of both mean.

        Raises:
            ConfpressError: they are not those of a decoder and a joiner.
        """
        names = [given.name for given in joiner.get_inputs()]
        if len(names) != 2:
            raise ConfpressError(
                f"the joiner takes {', '.join(names)}, and should take a frame of the encoder and "
                "what the decoder gives."
            )
        return cls(Predictor.of(decoder), joiner)

    def symbols(self, channels: int) -> int:
        """How many symbols there are, the blank included.

        Args:
            channels: Of the encoder's frames.

        Raises:
            ConfpressError: decoder or joiner fails.
        """
        predicted, _ = self.decoder.start(blank=0)
        return int(self._join(np.zeros(channels, np.float32), predicted).shape[-1])

    def best_path(self, frames: FloatArray, blank: int) -> list[int]:
        """Token ids.

        Args:
            frames: The encoder's, float32 [frames, channels].
            blank: Id of the blank.

        Raises:
            ConfpressError: decoder or joiner fails.
        """
        found: list[int] = []
        predicted, states = self.decoder.start(blank)
        for frame in frames:
            for _ in range(self.decoder.most):
                token = int(self._join(frame, predicted).argmax())
                if token == blank:
                    break
                found.append(token)
                predicted, states = self.decoder.step(found, blank, states)
        return found

    def _join(self, frame: FloatArray, predicted: Array) -> Array:
        """Scores of the next symbol, [1, vocabulary] or with more axes of size one."""
        feeds = {
            given.name: _fit(vector, given)
            for given, vector in zip(self.joiner.get_inputs(), (frame, predicted), strict=True)
        }
        return _run("joiner", self.joiner, feeds, [self.joiner.get_outputs()[0].name])[0]


@dataclass(frozen=True)
class Predictor:
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
    def of(cls, session: ort.InferenceSession) -> Predictor:
        """Finds out what a decoder's inputs mean.

        Raises:
            ConfpressError: they are not tokens and states.
        """
        inputs, outputs = session.get_inputs(), session.get_outputs()
        tokens = [i for i in inputs if i.type in _TYPES and len(i.shape) == 2]
        lengths = [i for i in inputs if i.type in _TYPES and len(i.shape) == 1]
        states = [i for i in inputs if i.type == "tensor(float)"]
        following = [o.name for o in outputs[1:] if o.type == "tensor(float)"]
        known = len(tokens) + len(lengths) + len(states)
        if len(tokens) != 1 or known != len(inputs) or len(states) != len(following):
            raise ConfpressError(
                f"the decoder takes {', '.join(i.name for i in inputs)} and gives "
                f"{', '.join(o.name for o in outputs)}, and should take tokens [batch, context] "
                "and, where it has states, give as many as it takes."
            )
        return cls(
            session,
            tokens[0],
            1 if states else _context(session, tokens[0]),
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
        predicted, *following = _run("decoder", self.session, feeds, names)
        return predicted, following


def _context(session: ort.InferenceSession, tokens: ort.NodeArg) -> int:
    """How many tokens a stateless decoder reads."""
    size = tokens.shape[1]
    text = str(session.get_modelmeta().custom_metadata_map.get("context_size", size))
    if not text.isdigit() or not int(text):
        raise ConfpressError(
            "the decoder says neither by its input's size nor by `context_size` in its metadata "
            "how many tokens it reads."
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


def _run(
    name: str, session: ort.InferenceSession, feeds: Mapping[str, Array], outputs: Sequence[str]
) -> list[Array]:
    try:
        found: list[Array] = session.run(outputs, feeds)
    # ONNX Runtime's exceptions have no common class but Exception.
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfpressError(f"the {name} fails: {line.rstrip('.')}.") from error
    return found
