"""The Conformer encoder: subsampling, positions, blocks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .attention import RelativePositionalEncoding, RelPositionMultiHeadAttention
from .config import ConformerConfig
from .convolution import ConformerConvolution
from .feed_forward import ConformerFeedForward
from .subsampling import ConvSubsampling


class ConformerLayer(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, LayerNorm."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        width = config.d_model
        self.norm_feed_forward1 = nn.LayerNorm(width)
        self.feed_forward1 = _feed_forward(config)
        self.norm_self_att = nn.LayerNorm(width)
        self.self_attn = RelPositionMultiHeadAttention(width, config.heads, config.dropout)
        self.norm_conv = nn.LayerNorm(width)
        self.conv = ConformerConvolution(width, config.kernel, config.causal)
        self.norm_feed_forward2 = nn.LayerNorm(width)
        self.feed_forward2 = _feed_forward(config)
        self.norm_out = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """`x` is [batch, time, d_model], `padding` bool [batch, time]."""
        x = x + 0.5 * self.dropout(self.feed_forward1(self.norm_feed_forward1(x)))
        x = x + self.dropout(self.self_attn(self.norm_self_att(x), positions, padding))
        x = x + self.dropout(self.conv(self.norm_conv(x), padding))
        x = x + 0.5 * self.dropout(self.feed_forward2(self.norm_feed_forward2(x)))
        output: Tensor = self.norm_out(x)
        return output


def _feed_forward(config: ConformerConfig) -> ConformerFeedForward:
    return ConformerFeedForward(config.d_model, config.ff_dim, config.dropout, config.experts)


class ConformerEncoder(nn.Module):
    """Features to a sequence of states, one for `subsampling_factor` frames."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.pre_encode = ConvSubsampling(config)
        self.scale = math.sqrt(config.d_model) if config.xscale else 1.0
        self.pos_enc = RelativePositionalEncoding(config.d_model, config.max_positions)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.layers))

    def forward(self, audio_signal: Tensor, length: Tensor) -> tuple[list[Tensor], Tensor]:
        """Encode.

        Args:
            audio_signal: float32 [batch, features, time].
            length: int64 [batch], frames that count.

        Returns:
            The output of every block, each float32 [batch, time', d_model], and the lengths
            int64 [batch].
        """
        x, length = self.pre_encode(audio_signal.transpose(1, 2), length)
        x = self.dropout(x * self.scale)
        positions = self.pos_enc(x)
        frames = torch.arange(x.shape[1], device=x.device)
        padding = frames[None, :] >= length[:, None]
        outputs = []
        for layer in self.layers:
            x = layer(x, positions, padding)
            outputs.append(x)
        return outputs, length
