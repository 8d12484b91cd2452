"""The shape of a Conformer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ConformerConfig(BaseModel):
    """Depth, width and parts of a Conformer-CTC (Gulati et al. 2020; names as in NeMo)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(default=80, gt=0, description="log-mel filters of the front end")
    vocabulary: int = Field(gt=0, description="tokens without the blank")
    d_model: int = Field(default=176, gt=0, description="width of the residual stream")
    layers: int = Field(default=16, gt=0, description="Conformer blocks")
    heads: int = Field(default=4, gt=0, description="attention heads")
    ff_dim: int = Field(default=704, gt=0, description="hidden width of the feed-forward modules")
    experts: int = Field(
        default=1,
        gt=0,
        description="parts of a feed-forward module's hidden width, of which a frame takes one",
    )
    kernel: int = Field(default=31, gt=0, description="frames of the depthwise convolution, odd")
    causal: bool = Field(
        default=False, description="the depthwise convolution sees no later frame, for streaming"
    )
    subsampling: Literal["striding", "dw_striding"] = Field(
        default="striding",
        description="full 3x3 convolutions, or depthwise-separable ones after the first",
    )
    subsampling_factor: Literal[2, 4, 8] = Field(default=4, description="frames in per frame out")
    subsampling_channels: int = Field(default=176, gt=0, description="channels of subsampling")
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    xscale: bool = Field(default=True, description="scale the stream by sqrt(d_model) at its start")
    max_positions: int | None = Field(
        default=None,
        gt=0,
        description="frames that a stored position table covers; None computes it in the graph",
    )

    @model_validator(mode="after")
    def _check(self) -> ConformerConfig:
        if self.d_model % self.heads:
            raise ValueError("d_model must be a multiple of heads")
        if self.d_model % 2:
            raise ValueError("d_model must be even")
        if self.ff_dim % self.experts:
            raise ValueError("ff_dim must be a multiple of experts")
        if self.kernel % 2 == 0:
            raise ValueError("kernel must be odd")
        return self
