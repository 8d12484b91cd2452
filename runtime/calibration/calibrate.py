"""Calibration: speech goes through the model once, and statistics of chosen values stay.

The values become outputs of a copy of the model, and everything that only serves the model's own
outputs is left out. Utterances run one by one, so that no padding enters; the memory used is that
of one utterance. A streaming model hears each chunk by chunk, its states carried, as it will later.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...passes.errors import ConfpressError
from ..interface import Array, FloatArray, read_interface
from ..progress import progress
from ..runner import Runner
from ..session import DEFAULT_OPTIONS, SessionOptions, create_session, run_session
from ..speech.audio import read_audio
from ..speech.frontend import FrontEnd
from ..speech.manifest import Utterance, load_utterances
from .statistics import Statistics

#: Longer recordings run in pieces of at most this many feature frames (30 s at a hop of 10 ms).
MAX_FRAMES = 3000
_SEED = 0


@dataclass(frozen=True)
class Observed:
    """A value to watch.

    Attributes:
        name: Its name in the graph.
        channel_axis: The axis of its channels (-1 for linear layers, 1 for convolutions), or None
            where statistics by channel are not wanted.
        gram: Whether to sum x·xᵀ over its channels.
        rows: How many positions to keep a sample of, [rows, channels].
        histogram: Whether to count magnitudes; ranges need it.
    """

    name: str
    channel_axis: int | None = None
    gram: bool = False
    rows: int = 0
    histogram: bool = True


@dataclass(frozen=True)
class CalibrationSet:
    """Recordings to calibrate with; iterating gives their features, read one at a time."""

    frontend: FrontEnd
    utterances: tuple[Utterance, ...]

    @property
    def seconds(self) -> float:
        """Duration of all recordings."""
        return sum(u.seconds for u in self.utterances)

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[FloatArray]:
        for utterance in self.utterances:
            audio = read_audio(utterance.path, self.frontend.sample_rate)
            yield self.frontend.features(audio)


def load_calibration(
    path: Path | str,
    frontend: FrontEnd,
    *,
    subset: str | None = None,
    max_seconds: float | None = None,
) -> CalibrationSet:
    """Choose recordings for calibration.

    Args:
        path: Folder or manifest.
        frontend: How features are made of them.
        subset: Take only those whose path contains this text.
        max_seconds: Take this much at most (at least one recording), drawn over the whole folder
            by a fixed seed: folders are often sorted by speaker.

    Raises:
        ConfpressError: there is no such folder, or nothing is in it.
    """
    utterances = load_utterances(path, subset)
    if max_seconds is not None:
        if max_seconds <= 0:
            raise ConfpressError(f"max_seconds must be positive, not {max_seconds:g}.")
        random.Random(_SEED).shuffle(utterances)
        ends = np.cumsum([u.seconds for u in utterances])
        utterances = utterances[: max(int((ends <= max_seconds).sum()), 1)]
    return CalibrationSet(frontend, tuple(utterances))


def calibrate(
    model: ir.Model,
    features: Iterable[FloatArray],
    values: Sequence[str | Observed],
    *,
    options: SessionOptions = DEFAULT_OPTIONS,
    max_frames: int = MAX_FRAMES,
) -> dict[str, Statistics]:
    """Collect statistics of values inside a model.

    Args:
        model: The model; it is left as it is.
        features: float32 [mels, frames] each, such as a `CalibrationSet`.
        values: What to watch.
        options: How to run the model.
        max_frames: Longer utterances run in nearly equal pieces of at most this many frames, or
            of as many as the model takes; streaming models run in their chunks.

    Returns:
        The statistics by name of the value.

    Raises:
        ConfpressError: a value is not in the model or not finite, the model fails, or there are
            no features.
    """
    observed = [Observed(v) if isinstance(v, str) else v for v in values]
    statistics = {
        v.name: Statistics(v.name, v.channel_axis, v.gram, v.rows, v.histogram) for v in observed
    }
    if not statistics:
        return {}
    watched = Watched.start(model, list(statistics), options, max_frames)
    seen = 0
    known = features if isinstance(features, CalibrationSet) else None
    total = known.seconds if known else None
    with progress("Calibrating", total, "s of speech" if known else "frames") as advance:
        for index, utterance in enumerate(features):
            seen += 1
            for arrays in watched.values(utterance):
                for entry, array in zip(statistics.values(), arrays, strict=True):
                    _update(entry, array, str(known.utterances[index].path) if known else index + 1)
            advance(known.utterances[index].seconds if known else utterance.shape[1])
    if seen == 0:
        raise ConfpressError("calibration needs at least one recording.")
    return statistics


def expose(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy of the model whose only outputs are the named values; weights are shared.

    Raises:
        ConfpressError: a name is not in the model's main graph.
    """
    copy = model.clone()
    values = {v.name: v for v in copy.graph.inputs}
    values |= {v.name: v for node in copy.graph for v in node.outputs}
    for name in names:
        if name not in values:
            raise ConfpressError(f"the model has no value '{name}' that could be observed.")
    copy.graph.outputs.clear()
    copy.graph.outputs.extend(values[name] for name in names)
    common.RemoveUnusedNodesPass()(copy)
    return copy


@dataclass(frozen=True)
class Watched:
    """A model that gives values inside it.

    Attributes:
        runner: A session with the values as outputs.
        names: The values.
        max_frames: The longest piece that runs, of a model that takes whole utterances.
    """

    runner: Runner
    names: Sequence[str]
    max_frames: int

    @classmethod
    def start(
        cls, model: ir.Model, names: Sequence[str], options: SessionOptions, max_frames: int
    ) -> Watched:
        face = read_interface(model)
        kept = [str(value.name) for value in model.graph.outputs] if face.states else []
        session = create_session(expose(model, list(dict.fromkeys([*names, *kept]))), options)
        longest = max_frames if face.frames is None else min(max_frames, face.frames)
        return cls(Runner(face, session), names, longest)

    def values(self, features: FloatArray) -> Iterator[list[Array]]:
        """The values, in the order of their names, for each piece or chunk of an utterance."""
        face, session = self.runner.interface, self.runner.session
        shown = [output.name for output in session.get_outputs()]
        states = None
        for piece in self._pieces(features):
            arrays = run_session(session, face.feeds(face.alone(piece), states))
            found = dict(zip(shown, arrays, strict=True))
            states = face.carried(found, states)
            yield [found[name] for name in self.names]

    def _pieces(self, features: FloatArray) -> list[FloatArray]:
        """Chunks, or nearly equal pieces along time, so that no piece is a short rest."""
        if self.runner.interface.states:
            return self.runner.chunks.cut(features)
        count = -(-features.shape[1] // self.max_frames)
        return np.array_split(features, max(count, 1), axis=1)


def _update(statistics: Statistics, array: npt.NDArray[np.generic], source: str | int) -> None:
    where = source if isinstance(source, str) else f"recording {source}"
    if not np.issubdtype(array.dtype, np.floating):
        raise ConfpressError(
            f"'{statistics.name}' holds {array.dtype}, of which there are no statistics."
        )
    try:
        statistics.update(array.astype(np.float32, copy=False))
    except ValueError as error:
        raise ConfpressError(
            f"'{statistics.name}' cannot be calibrated on {where}: {error}."
        ) from error
