"""The feed-forward module of a Conformer block."""

from __future__ import annotations

from torch import Tensor, nn

from .experts import ExpertGate


class ConformerFeedForward(nn.Module):
    """Linear, SiLU, linear; the hidden units may be divided among experts.

    Neighbouring units belong to one expert, as many to each. A frame's hidden units are multiplied
    by its factors of their experts.
    """

    def __init__(self, d_model: int, ff_dim: int, dropout: float, experts: int = 1) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, ff_dim)
        self.activation = nn.SiLU()
        self.dropout = nn.Dropout(dropout)
        self.linear2 = nn.Linear(ff_dim, d_model)
        self.gate = ExpertGate(d_model, experts) if experts > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """`x` is [batch, time, d_model]."""
        hidden = self.dropout(self.activation(self.linear1(x)))
        if self.gate is not None:
            experts = self.gate.out_features
            parts = hidden.view(*hidden.shape[:-1], experts, self.linear1.out_features // experts)
            hidden = (parts * self.gate(x).unsqueeze(-1)).view(hidden.shape)
        output: Tensor = self.linear2(hidden)
        return output
