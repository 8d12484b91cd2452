"""Greedy CTC search: the network's scores are those of the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..interface import FloatArray
from ..speech.decode import greedy_ctc

#: The model's file in a result.
CTC_FILE = "model.onnx"


@dataclass(frozen=True)
class GreedyCtc:
    """The most likely token of each frame, repeats merged."""

    @property
    def file(self) -> str:
        """What the network's file is called in a result."""
        return CTC_FILE

    @property
    def files(self) -> Sequence[Path]:
        """Models that the search runs: none."""
        return ()

    def copy_to(self, folder: Path) -> None:
        """Copies the models that the search runs: none."""

    def symbols(self, scores: int | None) -> int | None:
        """How many symbols there are, the blank included.

        Args:
            scores: Numbers a frame that the network gives; None where the file does not say.
        """
        return scores

    def best_path(self, scores: FloatArray, blank: int) -> list[int]:
        """Token ids.

        Args:
            scores: float32 [frames, vocabulary].
            blank: Id of the blank.
        """
        return greedy_ctc(scores, blank=blank)
