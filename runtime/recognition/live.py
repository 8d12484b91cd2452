"""Text as it grows: a streaming model fed chunk after chunk, in the order of the speech."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
from pydantic import Field

from ...passes.errors import ConfpressError
from ..interface import FloatArray
from ..record import Record
from ..runner import Runner
from .asr import AsrModel


class Partial(Record):
    """What a model has heard up to the end of a chunk."""

    seconds: float = Field(description="audio that went in so far")
    text: str = Field(description="all that was heard so far; later texts begin with it")
    milliseconds: float = Field(description="what this chunk took, search included")


def transcribe_live(
    model: AsrModel, session: ort.InferenceSession, features: FloatArray
) -> Iterator[Partial]:
    """Feed an utterance in chunks, the states carried from each to the next.

    Args:
        model: A streaming model.
        session: A session of it.
        features: float32 [mels, frames].

    Yields:
        After each chunk, what was heard.

    Raises:
        ConfpressError: the model takes whole utterances, has no tokens, or fails.
    """
    if not model.interface.states:
        raise ConfpressError(
            f"{model.path} takes whole utterances: none of its inputs is a state that one of its "
            "outputs hands on, so it cannot stream."
        )
    runner = Runner(model.interface, session)
    chunks = runner.chunks
    heard = _Heard(model)
    start = time.perf_counter()
    stream = runner.stream([chunk] for chunk in chunks.cut(features))
    for index, outputs in enumerate(stream, start=1):
        text = heard.text_after(np.asarray(outputs[model.interface.scores][0], dtype=np.float32))
        frames = min(index * chunks.shift, features.shape[1])
        yield Partial(
            seconds=frames * model.frontend.seconds_per_frame,
            text=text,
            milliseconds=(time.perf_counter() - start) * 1e3,
        )
        start = time.perf_counter()


class _Heard:
    """The tokens of the chunks so far."""

    def __init__(self, model: AsrModel) -> None:
        self._model = model
        self._tokens: list[int] = []
        self._frames: FloatArray | None = None

    def text_after(self, scores: FloatArray) -> str:
        """The text with one more chunk.

        Args:
            scores: The chunk's, float32 [frames, vocabulary or channels].
        """
        before = self._frames
        known = [] if before is None else self._model.decode(before)[0]
        joined = scores if before is None else np.concatenate([before, scores])
        found, text = self._model.decode(joined)
        if self._model.search.files:
            # A transducer's search depends on all tokens before: it begins anew.
            self._frames = joined
            return text
        # CTC merges a token with an equal one of the frame before, so that frame is enough.
        self._tokens += found[len(known) :]
        self._frames = joined[-1:]
        assert self._model.tokens is not None, "decoding needs them"
        return self._model.tokens.text(self._tokens)
