"""A Conformer-CTC that reads speech in chunks and hands its states on.

Chunk-wise attention with a limited past (Chen et al. 2021, "Developing real-time streaming
transformer transducer"; caches as in NeMo's cache-aware streaming, Noroozi et al. 2024): the frames
of a chunk see each other and `left_context` frames before them. Convolutions are causal.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import relative_positions
from .convolution import ConformerConvolution
from .ctc import ConformerCTC
from .encoder import ConformerLayer
from .subsampling import ConvSubsampling, silence

#: States of every layer: projected keys and values, and what the convolution saw last.
LAYER_STATES = ("keys", "values", "convolution")


class StreamingConformerCTC(nn.Module):
    """Chunks of features and states to log probabilities and the next states.

    Args:
        model: A causal Conformer, whose weights are used; on mel features it must not look ahead.
        left_context: Encoder frames before a chunk that attention sees.
    """

    def __init__(self, model: ConformerCTC, left_context: int) -> None:
        super().__init__()
        if not model.config.causal:
            raise ValueError("a streaming model needs a causal convolution (`causal: true`)")
        if left_context < 1:
            raise ValueError("left_context must be at least one frame")
        self.model = model
        self.config = model.config
        self.left_context = left_context

    def initial_states(self, batch: int) -> list[Tensor]:
        """States before the first chunk: features, valid frames, then those of every layer."""
        config = self.config
        states = [
            torch.zeros(batch, config.features, config.subsampling_factor),
            torch.zeros(batch, dtype=torch.int64),
        ]
        for _ in range(config.layers):
            past = torch.zeros(batch, self.left_context, config.d_model)
            states += [past, past.clone(), torch.zeros(batch, config.d_model, config.kernel - 1)]
        return states

    def forward(self, audio_signal: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Recognise a chunk.

        Args:
            audio_signal: float32 [batch, features, time], time a multiple of the subsampling.
            states: As `initial_states`, or those that the last call gave.

        Returns:
            `logprobs` float32 [batch, time', vocabulary + 1], then the next states.
        """
        encoder = self.model.encoder
        features, seen, *rest = states
        signal = torch.cat([features, audio_signal], dim=2)
        before = torch.where(seen > 0, 0, self.config.subsampling_factor)
        x = _subsample(encoder.pre_encode, signal.transpose(1, 2), before)
        # The first frame belongs to the chunk before; it was made of zeros that are not there.
        x = x[:, 1:] * encoder.scale
        frames = x.shape[1]
        past = self.left_context
        positions = relative_positions(frames, self.config.d_model, x.device, past)
        place = torch.arange(past + frames, device=x.device)
        padding = place[None, :] < (past - seen)[:, None]
        following = [
            signal[:, :, -self.config.subsampling_factor :],
            torch.clamp(seen + frames, max=past),
        ]
        for index, layer in enumerate(encoder.layers):
            assert isinstance(layer, ConformerLayer)
            own = rest[3 * index : 3 * index + 3]
            x, handed_on = _layer(layer, x, positions, padding, own)
            following += handed_on
        return (self.model.decoder(x), *following)


def _subsample(subsampling: ConvSubsampling, features: Tensor, before: Tensor) -> Tensor:
    """[batch, time, features] to [batch, time', d_model]; `before` int64 [batch] is not there yet.

    These first frames are zeros in `features`; the bias of a convolution fills them, and the next
    convolution must see zeros again, as it does where an utterance that is whole begins.
    """
    x = features.unsqueeze(1)
    for index, layer in enumerate(subsampling.conv):
        if index and isinstance(layer, nn.Conv2d) and layer.stride[0] == 2:
            before = torch.div(before, 2, rounding_mode="floor")
            frames = torch.arange(x.shape[2], device=x.device)
            x = silence(x, frames[None, :] >= before[:, None])
        x = layer(x)
    batch, channels, time, bins = x.shape
    output: Tensor = subsampling.out(x.transpose(1, 2).reshape(batch, time, channels * bins))
    return output


def _layer(
    layer: ConformerLayer, x: Tensor, positions: Tensor, padding: Tensor, states: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """One block on a chunk: its output and its next keys, values and convolution state."""
    keys, values, recent = states
    x = x + 0.5 * layer.feed_forward1(layer.norm_feed_forward1(x))
    attention, normed = layer.self_attn, layer.norm_self_att(x)
    all_keys = torch.cat([keys, attention.linear_k(normed)], dim=1)
    all_values = torch.cat([values, attention.linear_v(normed)], dim=1)
    x = x + attention.attend(normed, all_keys, all_values, positions, padding)
    mixed, recent = _convolve(layer.conv, layer.norm_conv(x), recent)
    x = x + mixed
    x = x + 0.5 * layer.feed_forward2(layer.norm_feed_forward2(x))
    past = keys.shape[1]
    return layer.norm_out(x), [all_keys[:, -past:], all_values[:, -past:], recent]


def _convolve(module: ConformerConvolution, x: Tensor, recent: Tensor) -> tuple[Tensor, Tensor]:
    gated = torch.cat([recent, module.gate(x)], dim=2)
    return module.mix(gated), gated[:, :, x.shape[1] :]
