"""The gate of experts: which part of a feed-forward module each frame goes through."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Shares of a gate below this are zero while it is soft (EvoMoE's code, `GUMBEL_THRESHOLD`).
_LEAST = 0.02


class ExpertGate(nn.Linear):
    """Of several experts, how much of each a frame gets.

    In evaluation mode it is all of the one with the highest score. In training it is a dense gate
    that becomes sparse (DTS-Gate, Nie et al., arXiv 2112.14397, section 3): Gumbel-softmax shares
    at a temperature that falls. They are divided by the largest, so that a gate at a high
    temperature lets all experts through, whose sum is the module as it was.

    Attributes:
        temperature: Of the soft gate.
        hard: Whether one expert is taken in training too.
    """

    def __init__(self, width: int, experts: int) -> None:
        super().__init__(width, experts, bias=False)
        self.temperature = 1.0
        self.hard = False

    def forward(self, x: Tensor) -> Tensor:
        """Frames [..., width] to factors of the experts, [..., experts]."""
        scores = super().forward(x)
        if not self.training:
            return self._one(scores)
        shares = nn.functional.gumbel_softmax(scores.float(), self.temperature, dim=-1)
        if self.hard:
            # The factor of the one is its share for gradients, which go on to teach the gate.
            taken = self._one(shares) * shares
            return taken / taken.detach().amax(-1, keepdim=True)
        return shares * (shares > _LEAST) / shares.amax(-1, keepdim=True)

    def _one(self, scores: Tensor) -> Tensor:
        """One for the highest of each row, zero for the others."""
        highest = scores.argmax(-1)
        return nn.functional.one_hot(highest, self.out_features).to(torch.float32)
