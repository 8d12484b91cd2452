"""Experts: feed-forward modules of which a frame goes through one part, learned by a gate.

A module's hidden units are divided into experts, those that look the same way together, and a gate
that lets all of them through becomes one that takes a single one, as its temperature falls: dense
to sparse (DTS-Gate, Nie et al., arXiv 2112.14397). There experts are copies that make a model
larger; here they are parts that make it faster.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from ...passes.errors import ConfpressError
from ..ctc import ConformerCTC
from ..experts import ExpertGate
from ..feed_forward import ConformerFeedForward
from .compression import Method


class ExpertsConfig(BaseModel):
    """How many experts, and how their gates become sparse."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experts: int = Field(default=2, gt=1, description="parts of every feed-forward module")
    first_temperature: float = Field(
        default=10.0, gt=0, description="of the gates at the start, where they let all through"
    )
    last_temperature: float = Field(
        default=0.3, gt=0, description="when they begin to take one; it falls exponentially"
    )
    hard: float = Field(
        default=0.5, gt=0, lt=1, description="share of the run after which gates take one"
    )
    rate: float = Field(default=0.005, gt=0, description="highest learning rate of the gates")


class Experts(Method):
    """The method of :class:`ExpertsConfig`, for the feed-forward modules of a Conformer."""

    def __init__(self, config: ExpertsConfig) -> None:
        self.config = config
        self._gates: list[ExpertGate] = []

    @property
    def settled(self) -> bool:
        """Whether gates take one expert."""
        return all(gate.hard for gate in self._gates)

    def attach(self, model: nn.Module) -> None:
        """Divides every feed-forward module, and gives it a gate.

        Raises:
            ConfpressError: the hidden width cannot be divided so, or the model has experts.
        """
        assert isinstance(model, ConformerCTC)
        experts = self.config.experts
        shape = model.config
        if shape.experts > 1:
            raise ConfpressError("the model has experts already, which a teacher may not have.")
        if shape.ff_dim % experts:
            raise ConfpressError(
                f"{shape.ff_dim} hidden units cannot be divided among {experts} experts."
            )
        for module in model.modules():
            if isinstance(module, ConformerFeedForward):
                _sort_units(module)
                module.gate = ExpertGate(shape.d_model, experts).to(model.device)
                nn.init.zeros_(module.gate.weight)
                self._gates.append(module.gate)
        model.config = shape.model_copy(update={"experts": experts})

    def advance(self, done: float) -> bool:
        """Lowers the temperature, or lets gates take one."""
        config = self.config
        falling = min(done / config.hard, 1.0)
        ratio = config.last_temperature / config.first_temperature
        hardens = done >= config.hard and not self.settled
        for gate in self._gates:
            gate.temperature = config.first_temperature * ratio**falling
            gate.hard = done >= config.hard
        return hardens

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Gates at their rate."""
        weights = [gate.weight for gate in self._gates]
        return [{"params": weights, "lr": self.config.rate, "weight_decay": 0.0}]


@torch.no_grad()
def _sort_units(module: ConformerFeedForward) -> None:
    """Puts hidden units in the order of where their weights point; outputs stay the same."""
    first = module.linear1
    directions = nn.functional.normalize(first.weight, dim=1)
    _, _, axes = torch.linalg.svd(directions - directions.mean(0), full_matrices=False)
    order = (directions @ axes[0]).argsort()
    first.weight.copy_(first.weight[order])
    first.bias.copy_(first.bias[order])
    module.linear2.weight.copy_(module.linear2.weight[:, order])
