"""Weights of few bits in training, as they will be served.

Native quantisation-aware training of Conformers (Ding et al., Interspeech 2022): the forward pass
computes with the weights' codes times their scale in float16, which is the largest weight of an
output channel, or of a block of its inputs, by the largest code, found anew in every step;
gradients pass through the rounding as if it were not there. A weight that was made so is quantised
again without error.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .compression import Method
from .layers import FRAMES_MAJOR, from_rows, linear_layers, rows_of


class LowBitConfig(BaseModel):
    """Which weights get how few bits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: int = Field(default=4, ge=2, le=8, description="of a weight")
    block: int = Field(
        default=32, ge=0, description="inputs that share a scale; 0 for all of an output channel"
    )
    exclude: tuple[str, ...] = Field(
        default=(FRAMES_MAJOR,),
        description="patterns of names of layers that keep their weights",
    )


class FewBits(nn.Module):
    """Rounds a weight to symmetric codes, block by block."""

    def __init__(self, bits: int, block: int) -> None:
        super().__init__()
        self.top = 2 ** (bits - 1) - 1
        self.block = block

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the codes mean; gradients are those of the weight itself."""
        rows = rows_of(weight.detach())
        columns = rows.shape[-1]
        block = self.block or columns
        groups = nn.functional.pad(rows, (0, -columns % block))
        groups = groups.reshape(*rows.shape[:-1], -1, block)
        # As they are stored: a model learns with what will be served.
        scales = (groups.abs().amax(-1, keepdim=True) / self.top).half().float()
        codes = (groups / scales.where(scales > 0, 1.0)).round().clamp(-self.top, self.top)
        rounded = from_rows((codes * scales).flatten(-2)[..., :columns], weight.shape)
        return weight + (rounded - weight).detach()


class LowBit(Method):
    """The method of :class:`LowBitConfig`, for linear layers; it rounds from the first step on."""

    def __init__(self, config: LowBitConfig) -> None:
        self.config = config

    def attach(self, model: nn.Module) -> None:
        """Rounds the weights of every layer that is not excluded."""
        # A list: parametrizing adds modules to the model that is walked through.
        for layer in list(linear_layers(model, self.config.exclude)):
            rounding = FewBits(self.config.bits, self.config.block)
            parametrize.register_parametrization(layer, "weight", rounding)
