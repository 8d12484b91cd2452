"""What a training run minimises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from ..ctc import ConformerCTC
from .data import Batch, Example


class Loss(NamedTuple):
    """The loss of a batch, and the number that progress tells."""

    total: Tensor
    told: float


class Objective(Protocol):
    """A loss to learn from and an error to judge by."""

    def loss(self, model: ConformerCTC, batch: Batch) -> Loss:
        """The loss of a batch."""
        ...

    def error(self, model: ConformerCTC, grouped: Sequence[Sequence[Example]]) -> float:
        """The error of a model in evaluation mode on batches of examples; less is better."""
        ...
