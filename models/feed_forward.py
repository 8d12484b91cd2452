"""The feed-forward module of a Conformer block."""

from __future__ import annotations

from torch import Tensor, nn


class ConformerFeedForward(nn.Module):
    """Linear, SiLU, linear."""

    def __init__(self, d_model: int, ff_dim: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, ff_dim)
        self.activation = nn.SiLU()
        self.dropout = nn.Dropout(dropout)
        self.linear2 = nn.Linear(ff_dim, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """`x` is [batch, time, d_model]."""
        hidden = self.dropout(self.activation(self.linear1(x)))
        output: Tensor = self.linear2(hidden)
        return output
