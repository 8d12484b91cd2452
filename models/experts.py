"""The gate of experts: which part of a feed-forward module each frame goes through."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Shares of a gate below this are zero while it is soft (EvoMoE's code, `GUMBEL_THRESHOLD`).
_LEAST = 0.02


class ExpertGate(nn.Linear):
    """Of several experts, how much of each a frame gets.

    It is all of the one with the highest score. While a dense gate becomes sparse (DTS-Gate, Nie et
    al., arXiv 2112.14397, section 3), it is Gumbel-softmax shares at a temperature that falls. They
    are divided by the largest, so that a gate at a high temperature lets all experts through, whose
    sum is the module as it was.

    Attributes:
        temperature: Of the shares.
        hard: Whether one expert is taken in training too, by its score without chance.
    """

    def __init__(self, width: int, experts: int) -> None:
        super().__init__(width, experts, bias=False)
        self.temperature = 1.0
        self.hard = True

    def forward(self, x: Tensor) -> Tensor:
        """Frames [..., width] to factors of the experts, [..., experts]."""
        scores = super().forward(x)
        if not self.training:
            return self._one(scores)
        if self.hard:
            # The factor of the one is its share for gradients, which go on to teach the gate.
            shares = (scores.float() / self.temperature).softmax(-1)
            taken = self._one(scores) * shares
            return taken / taken.detach().amax(-1, keepdim=True)
        shares = nn.functional.gumbel_softmax(scores.float(), self.temperature, dim=-1)
        return shares * (shares > _LEAST) / shares.amax(-1, keepdim=True)

    def _one(self, scores: Tensor) -> Tensor:
        """One for the highest of each row, zero for the others."""
        highest = scores.argmax(-1)
        return nn.functional.one_hot(highest, self.out_features).to(torch.float32)
