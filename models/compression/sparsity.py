"""Balanced sparsity: N of every M neighbouring weights of a row, reached step by step.

Balance-aware iterative pruning (Yao et al., AAAI 2019, algorithm 1): the share of zeros grows while
the model learns, and at each growth every span of every row keeps its best weights. A weight counts
by its square times the mean square of its input, as :mod:`~...passes.sparsify` has it. The share
follows the cubic of Zhu and Gupta (2017). A weight that was left out may come back at the next
growth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .compression import Method
from .layers import FRAMES_MAJOR, convolutions, from_rows, learned_weight, linear_layers, rows_of

#: Frames of layers' inputs weigh this much in the running mean of their squares, a step's together.
_NEW = 0.05


class SparsityConfig(BaseModel):
    """Which weights go, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = Field(
        default="4:16", description="N of every M neighbouring weights of a row are kept"
    )
    reached: float = Field(
        default=0.5, gt=0, lt=1, description="share of the run after which no more weights go"
    )
    exclude: tuple[str, ...] = Field(
        default=(FRAMES_MAJOR,),
        description="patterns of names of layers that stay dense",
    )

    @field_validator("pattern")
    @classmethod
    def _check(cls, pattern: str) -> str:
        spans(pattern)
        return pattern


def spans(pattern: str) -> tuple[int, int]:
    """N and M of "N:M".

    Raises:
        ValueError: it is no such pattern.
    """
    kept, _, span = pattern.partition(":")
    if not (kept.isdecimal() and span.isdecimal() and 0 < int(kept) < int(span)):
        raise ValueError(f'"{pattern}" is no pattern N:M with 0 < N < M')
    return int(kept), int(span)


class BalancedMask(nn.Module):
    """Leaves weights out, as many in every span of a row."""

    mask: Tensor
    mean_squares: Tensor

    def __init__(self, weight: Tensor, channels: int, span: int) -> None:
        super().__init__()
        self.span = span
        self.register_buffer("mask", torch.ones(weight.shape, dtype=torch.bool))
        self.register_buffer("mean_squares", torch.ones(channels))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with zeros."""
        return weight * self.mask

    def watch(self, layer: nn.Module, inputs: Sequence[Tensor]) -> None:
        """Takes the squares of what a layer reads into the running means, as its hook."""
        if not layer.training:
            return
        read = inputs[0].detach().float()
        # Linear layers have channels last, convolutions second.
        axis = read.dim() - 1 if isinstance(layer, nn.Linear) else 1
        squares = read.square().mean([each for each in range(read.dim()) if each != axis])
        self.mean_squares.lerp_(squares, _NEW)

    @torch.no_grad()
    def keep(self, weight: Tensor, kept: int) -> None:
        """Keeps the best weights of every span."""
        rows = rows_of(weight)
        scores = rows.square() * self.mean_squares.repeat(rows.shape[-1] // len(self.mean_squares))
        columns = rows.shape[-1]
        # Columns that fill up the last span come last, so that they take no real one's place.
        filled = nn.functional.pad(scores, (0, -columns % self.span), value=-1.0)
        windows = filled.reshape(*rows.shape[:-1], -1, self.span)
        best = windows.topk(kept, dim=-1).indices
        mask = torch.zeros_like(windows, dtype=torch.bool).scatter_(-1, best, True)
        self.mask.copy_(from_rows(mask.flatten(-2)[..., :columns], weight.shape))


class BalancedSparsity(Method):
    """The method of :class:`SparsityConfig`: linear layers and the subsampling's convolutions."""

    def __init__(self, config: SparsityConfig) -> None:
        self.config = config
        self._kept, self._span = spans(config.pattern)
        self._now = self._span
        self._masks: list[tuple[Tensor, BalancedMask]] = []

    @property
    def settled(self) -> bool:
        """Whether all zeros are there."""
        return self._now == self._kept

    def attach(self, model: nn.Module) -> None:
        """Masks every layer that is not excluded; watches what it reads."""
        exclude = self.config.exclude
        # A list: parametrizing adds modules to the model that is walked through.
        for layer in [*linear_layers(model, exclude), *convolutions(model, exclude)]:
            weight = learned_weight(layer)
            mask = BalancedMask(weight, weight.shape[1], self._span)
            parametrize.register_parametrization(layer, "weight", mask)
            layer.register_forward_pre_hook(mask.watch)
            self._masks.append((weight, mask))

    def advance(self, done: float) -> bool:
        """Leaves more weights out where it is time to."""
        wanted = self._wanted(done)
        if wanted == self._now:
            return False
        self._now = wanted
        for weight, mask in self._masks:
            mask.keep(weight, wanted)
        return True

    def state_dict(self) -> dict[str, Any]:
        """How many are kept; the masks are in the model's state."""
        return {"kept": self._now}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        self._now = state["kept"]

    def _wanted(self, done: float) -> int:
        """How many weights of a span are kept at a moment of the run; never more than before."""
        left = max(1 - done / self.config.reached, 0.0) ** 3
        wanted = self._kept + math.ceil((self._span - self._kept) * left)
        return min(wanted, self._now)
