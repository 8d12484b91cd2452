"""A transducer of three files: which they are, and the search that runs two of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...passes.errors import ConfpressError
from ..interface import FloatArray
from ..model_file import model_files
from ..session import create_session
from ..speech.transducer_search import TransducerSearch

ENCODER, DECODER, JOINER = "encoder", "decoder", "joiner"
#: Their files in a result.
ENCODER_FILE, DECODER_FILE, JOINER_FILE = (f"{p}.onnx" for p in (ENCODER, DECODER, JOINER))
# NeMo's joiner is also called joint; encoder-epoch-30-avg-1.onnx, model-encoder.onnx.
_NAMES = {ENCODER: ("encoder",), DECODER: ("decoder",), JOINER: ("joiner", "joint")}
_PATTERNS = ("{0}.onnx", "{0}[-_.]*.onnx", "*[-_.]{0}.onnx")
# Smaller copies that lie beside the original.
_COPIES = (".int8.onnx", ".fp16.onnx")
_JOINED = "decoder_joint"


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
        return ENCODER_FILE

    @property
    def files(self) -> Sequence[Path]:
        """Models that the search runs."""
        return self.decoder, self.joiner

    def copy_to(self, folder: Path) -> None:
        """Copies decoder and joiner, under the names by which they are found.

        Raises:
            ConfpressError: a file cannot be read.
        """
        for file, path in ((DECODER_FILE, self.decoder), (JOINER_FILE, self.joiner)):
            for source in model_files(path):
                name = file if source == path else source.name
                shutil.copyfile(source, folder / name)

    def symbols(self, scores: int | None) -> int | None:
        """How many symbols there are, the blank included.

        Args:
            scores: Channels of the encoder's frames; None where its file does not say.

        Raises:
            ConfpressError: decoder or joiner is none, or fails.
        """
        return None if scores is None else self._search.symbols(scores)

    def best_path(self, scores: FloatArray, blank: int) -> list[int]:
        """Token ids.

        Args:
            scores: The encoder's frames, float32 [frames, channels].
            blank: Id of the blank.

        Raises:
            ConfpressError: decoder or joiner is none, or fails.
        """
        return self._search.best_path(scores, blank)

    @cached_property
    def _search(self) -> TransducerSearch:
        decoder, joiner = create_session(self.decoder), create_session(self.joiner)
        try:
            return TransducerSearch.start(decoder, joiner)
        except ConfpressError as error:
            raise ConfpressError(f"{self.decoder.parent}: {error}") from error
