"""Convolutional subsampling in time, before the first block."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .config import ConformerConfig


def subsampled(length: Tensor, factor: int) -> Tensor:
    """Frames left of `length` frames: each halving convolution (3, stride 2, pad 1) rounds up."""
    for _ in range(int(math.log2(factor))):
        length = torch.div(length - 1, 2, rounding_mode="floor") + 1
    return length


class ConvSubsampling(nn.Module):
    """3x3 convolutions of stride 2 over time and features, then a linear layer.

    `striding` uses full convolutions; `dw_striding` follows the first one by
    depthwise-separable ones (as in FastConformer, Rekesh et al. 2023).
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        channels = config.subsampling_channels
        stages = int(math.log2(config.subsampling_factor))
        layers: list[nn.Module] = [nn.Conv2d(1, channels, 3, stride=2, padding=1), nn.ReLU()]
        for _ in range(stages - 1):
            if config.subsampling == "striding":
                layers.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
            else:
                layers.append(
                    nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels)
                )
                layers.append(nn.Conv2d(channels, channels, 1))
            layers.append(nn.ReLU())
        self.conv = nn.Sequential(*layers)
        bins = -(-config.features // config.subsampling_factor)
        self.out = nn.Linear(channels * bins, config.d_model)

    def forward(self, features: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Subsample.

        Args:
            features: float [batch, time, features].
            length: int64 [batch], frames that count.

        Returns:
            float [batch, time', d_model] and int64 [batch].
        """
        x = _silence_padding(features.unsqueeze(1), length)
        for layer in self.conv:
            x = layer(x)
            if isinstance(layer, nn.Conv2d) and layer.stride[0] == 2:
                length = subsampled(length, 2)
            if isinstance(layer, nn.ReLU):
                # The bias has filled the padded frames; the next convolution must see zeros.
                x = _silence_padding(x, length)
        batch, channels, time, bins = x.shape
        return self.out(x.transpose(1, 2).reshape(batch, time, channels * bins)), length


def _silence_padding(x: Tensor, length: Tensor) -> Tensor:
    """Zero the frames at and beyond `length`; `x` is [batch, channels, time, features]."""
    frames = torch.arange(x.shape[2], device=x.device)
    return silence(x, frames[None, :] < length[:, None])


def silence(x: Tensor, heard: Tensor) -> Tensor:
    """Zero frames but those `heard`, [batch, time]; `x` is [batch, channels, time, features]."""
    return x * heard[:, None, :, None].to(x.dtype)
