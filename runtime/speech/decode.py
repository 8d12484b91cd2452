"""Token tables and greedy CTC decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...passes.errors import ConfpressError

WORD_BOUNDARY = "▁"
_BLANK_NAMES = ("<blk>", "<blank>", "<b>")


@dataclass(frozen=True)
class Tokens:
    """The pieces of a vocabulary by id; `▁` marks a word's start (SentencePiece's convention).

    A vocabulary of single characters uses `▁` alone, as the space between words.
    """

    pieces: tuple[str, ...]

    @property
    def blank(self) -> int:
        """The blank's id: that of a piece named `<blk>`, or else the first id after the pieces."""
        for name in _BLANK_NAMES:
            if name in self.pieces:
                return self.pieces.index(name)
        return len(self.pieces)

    def text(self, ids: Sequence[int]) -> str:
        """Join pieces into words."""
        joined = "".join(self.pieces[i] for i in ids)
        return " ".join(joined.replace(WORD_BOUNDARY, " ").split())

    @classmethod
    def load(cls, path: Path | str) -> Tokens:
        """Read `piece id` a line; ids count from 0 in any order.

        Raises:
            ConfpressError: the file cannot be read, or a line or the numbering is wrong.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfpressError(f"cannot read the tokens {path}: {error}.") from error
        by_id: dict[int, str] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            piece, _, index = line.rstrip("\r").rpartition(" ")
            if not piece or not index.isdigit() or int(index) in by_id:
                raise ConfpressError(f"{path}, line {number}: expected 'piece id' with a new id.")
            by_id[int(index)] = piece
        if sorted(by_id) != list(range(len(by_id))) or not by_id:
            raise ConfpressError(f"{path}: the ids must count from 0 without gaps.")
        return cls(tuple(by_id[i] for i in range(len(by_id))))

    def save(self, path: Path | str) -> None:
        """Write `piece id` a line."""
        lines = [f"{piece} {index}\n" for index, piece in enumerate(self.pieces)]
        Path(path).write_text("".join(lines), encoding="utf-8")


def greedy_ctc(
    logprobs: npt.NDArray[np.floating], length: int | None = None, blank: int | None = None
) -> list[int]:
    """Best path: the most likely token of each frame, repeats merged, blanks dropped.

    Args:
        logprobs: [frames, vocabulary + 1], in any monotone scale.
        length: frames that count; all by default.
        blank: id of the blank; the last column by default.
    """
    best = logprobs[:length].argmax(axis=-1)
    blank = logprobs.shape[-1] - 1 if blank is None else blank
    keep = best != blank
    keep[1:] &= best[1:] != best[:-1]
    return [int(token) for token in best[keep]]
