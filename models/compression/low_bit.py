"""Weights of few bits in training, as they will be served.

Native quantisation-aware training of Conformers (Ding et al., Interspeech 2022): the forward pass
computes with the weights' codes times their scale in float16; gradients pass through the rounding
as if it were not there. The scale is the largest weight of an output channel, or of a block of its
inputs, by the largest code, found anew in every step, times a factor that clips the largest weights
where that makes the squared error of the others less; factors are searched now and then. A weight
that was made so is quantised again without error.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .compression import Method
from .layers import FRAMES_MAJOR, from_rows, learned_weight, linear_layers, rows_of


class LowBitConfig(BaseModel):
    """Which weights get how few bits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: int = Field(default=4, ge=2, le=8, description="of a weight")
    block: int = Field(
        default=32, ge=0, description="inputs that share a scale; 0 for all of an output channel"
    )
    searches: int = Field(
        default=20, ge=0, description="how often in the run clipping is searched; 0 clips nothing"
    )
    exclude: tuple[str, ...] = Field(
        default=(FRAMES_MAJOR,),
        description="patterns of names of layers that keep their weights",
    )


#: What may clip a scale: these parts of the largest weight.
_FACTORS = tuple(torch.linspace(1.0, 0.5, 11).tolist())


class FewBits(nn.Module):
    """Rounds a weight to symmetric codes, block by block."""

    factors: Tensor

    def __init__(self, weight: Tensor, bits: int, block: int) -> None:
        """Prepares to round.

        Args:
            weight: Of the shape that is rounded.
            bits: Of a code.
            block: Neighbours of a row that share a scale; 0 for the whole row.
        """
        super().__init__()
        self.top = 2 ** (bits - 1) - 1
        self.block = block
        self.register_buffer("factors", torch.ones_like(self._groups(weight)[..., :1]))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the codes mean; gradients are those of the weight itself."""
        rounded = self._rounded(self._groups(weight.detach()), self.factors)
        columns = rows_of(weight).shape[-1]
        rounded = from_rows(rounded.flatten(-2)[..., :columns], weight.shape)
        return weight + (rounded - weight).detach()

    @torch.no_grad()
    def search(self, weight: Tensor) -> None:
        """Finds the factor of every group with the least squared error."""
        groups = self._groups(weight)
        least = torch.full_like(self.factors, math.inf)
        for factor in _FACTORS:
            error = (self._rounded(groups, factor) - groups).square().sum(-1, keepdim=True)
            self.factors.masked_fill_(error < least, factor)
            least = torch.minimum(least, error)

    def _groups(self, weight: Tensor) -> Tensor:
        """What shares scales: [..., groups, block], zeros behind the last."""
        rows = rows_of(weight)
        block = self.block or rows.shape[-1]
        padded = nn.functional.pad(rows, (0, -rows.shape[-1] % block))
        return padded.reshape(*rows.shape[:-1], -1, block)

    def _rounded(self, groups: Tensor, factors: Tensor | float) -> Tensor:
        # As they are stored: a model learns with what will be served.
        largest = groups.abs().amax(-1, keepdim=True) * factors
        scales = (largest / self.top).half().float()
        codes = (groups / scales.where(scales > 0, 1.0)).round().clamp(-self.top, self.top)
        rounded: Tensor = codes * scales
        return rounded


class LowBit(Method):
    """The method of :class:`LowBitConfig`, for linear layers; it rounds from the first step on."""

    def __init__(self, config: LowBitConfig) -> None:
        self.config = config
        self._searched = -1
        self._roundings: list[tuple[nn.Module, FewBits]] = []

    def attach(self, model: nn.Module) -> None:
        """Rounds the weights of every layer that is not excluded."""
        # A list: parametrizing adds modules to the model that is walked through.
        for layer in list(linear_layers(model, self.config.exclude)):
            rounding = FewBits(learned_weight(layer), self.config.bits, self.config.block)
            parametrize.register_parametrization(layer, "weight", rounding)
            self._roundings.append((layer, rounding))

    def advance(self, done: float) -> bool:
        """Searches factors where it is time to."""
        wanted = math.floor(done * self.config.searches)
        if self.config.searches and wanted != self._searched:
            self._searched = wanted
            for layer, rounding in self._roundings:
                rounding.search(_before(layer))
        return False

    def state_dict(self) -> dict[str, Any]:
        """How often factors were searched; they are in the model's state."""
        return {"searched": self._searched}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        self._searched = state["searched"]


def _before(layer: nn.Module) -> Tensor:
    """A layer's weight as it comes to the rounding, which is the last of its parametrizations."""
    *earlier, _ = cast(nn.ModuleList, cast(nn.ModuleDict, layer.parametrizations)["weight"])
    weight = learned_weight(layer).detach()
    for parametrization in earlier:
        weight = parametrization(weight)
    return weight
