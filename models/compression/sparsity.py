"""Balanced sparsity: N of every M neighbouring weights of a row, reached step by step.

Balance-aware iterative pruning (Yao et al., AAAI 2019, algorithm 1): the share of zeros grows while
the model learns. It follows the cubic of Zhu and Gupta (2017). At each growth the weights that stay
are those with which the layer does what it did, and they are fitted to do so: compressed sensing on
what the layer has read of late (:mod:`~...passes.compressed_sensing`). A weight that was left out
may come back at the next growth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...passes.balanced import highest
from ...passes.compressed_sensing import sense
from .compression import Method
from .layers import (
    FRAMES_MAJOR,
    convolutions,
    from_rows,
    input_rows,
    learned_weight,
    linear_layers,
    rows_of,
)

#: Of what a layer reads in a step, so many vectors are looked at, and weigh this much together.
_VECTORS, _NEW = 256, 0.05


class SparsityConfig(BaseModel):
    """Which weights go, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = Field(
        default="4:16", description="N of every M neighbouring weights of a row are kept"
    )
    reached: float = Field(
        default=0.5, gt=0, lt=1, description="share of the run after which no more weights go"
    )
    growths: int = Field(default=8, gt=0, description="in so many steps, at most")
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
    """Leaves weights out."""

    mask: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(weight.shape, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with zeros."""
        return weight * self.mask


class SparseLayer:
    """A layer's weight with its mask, and what the layer has read."""

    def __init__(self, layer: nn.Module, span: int) -> None:
        """Masks a layer's weight, and watches what it reads.

        Args:
            layer: Of :func:`linear_layers` or :func:`convolutions`.
            span: Of so many neighbouring weights as many are kept.
        """
        self.span = span
        self.weight = learned_weight(layer)
        self.mask = BalancedMask(self.weight)
        #: Running mean of x·xᵀ, float32 [K, K].
        self.moments = torch.eye(
            rows_of(self.weight).flatten(1).shape[1], device=self.weight.device
        )
        parametrize.register_parametrization(layer, "weight", self.mask)
        layer.register_forward_pre_hook(self._watch)

    def _watch(self, layer: nn.Module, inputs: Sequence[Tensor]) -> None:
        if layer.training:
            rows = input_rows(layer, inputs[0].detach(), _VECTORS).float()
            with torch.autocast(rows.device.type, enabled=False):
                self.moments.lerp_(rows.T @ rows / len(rows), _NEW)

    @torch.no_grad()
    def keep(self, kept: int) -> None:
        """Leaves so many weights of every span, those and such that outputs change least."""
        rows = rows_of(self.weight * self.mask.mask)
        columns = rows.shape[-1]

        def choose(scores: np.ndarray) -> np.ndarray:
            return highest(scores.reshape(-1, columns), kept, self.span).reshape(scores.shape)

        found = sense(rows.flatten(1).cpu().numpy(), self.moments.cpu().numpy(), choose)
        sparse = from_rows(torch.from_numpy(found).reshape(rows.shape), self.weight.shape)
        self.weight.copy_(sparse)
        self.mask.mask.copy_(sparse != 0)


class BalancedSparsity(Method):
    """The method of :class:`SparsityConfig`: linear layers and the subsampling's convolutions."""

    def __init__(self, config: SparsityConfig) -> None:
        self.config = config
        self._kept, self._span = spans(config.pattern)
        self._now = self._span
        self._layers: list[SparseLayer] = []

    @property
    def settled(self) -> bool:
        """Whether all zeros are there."""
        return self._now == self._kept

    def attach(self, model: nn.Module) -> None:
        """Masks every layer that is not excluded."""
        exclude = self.config.exclude
        # A list: parametrizing adds modules to the model that is walked through.
        found = [*linear_layers(model, exclude), *convolutions(model, exclude)]
        self._layers = [SparseLayer(layer, self._span) for layer in found]

    def advance(self, done: float) -> bool:
        """Leaves more weights out where it is time to."""
        wanted = self._wanted(done)
        if wanted == self._now:
            return False
        self._now = wanted
        for layer in self._layers:
            layer.keep(wanted)
        return True

    def state_dict(self) -> dict[str, Any]:
        """How many are kept, and what layers have read; the masks are in the model's state."""
        return {"kept": self._now, "moments": [layer.moments for layer in self._layers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        self._now = state["kept"]
        for layer, moments in zip(self._layers, state["moments"], strict=True):
            layer.moments.copy_(moments)

    def _wanted(self, done: float) -> int:
        """How many weights of a span are kept at a moment of the run; never more than before."""
        step = math.floor(min(done / self.config.reached, 1.0) * self.config.growths)
        left = (1 - step / self.config.growths) ** 3
        wanted = self._kept + math.ceil((self._span - self._kept) * left)
        return min(wanted, self._now)
