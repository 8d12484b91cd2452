"""The Conformer with a CTC head (Graves et al. 2006)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ConformerConfig
from .encoder import ConformerEncoder


class ConvDecoder(nn.Module):
    """A pointwise convolution to the vocabulary and the blank, which comes last."""

    def __init__(self, d_model: int, classes: int) -> None:
        super().__init__()
        self.decoder_layers = nn.Sequential(nn.Conv1d(d_model, classes, 1))

    def forward(self, states: Tensor) -> Tensor:
        """Log probabilities [batch, time, classes] of states [batch, time, d_model]."""
        logits = self.decoder_layers(states.transpose(1, 2)).transpose(1, 2)
        return torch.log_softmax(logits, dim=-1)


class ConformerCTC(nn.Module):
    """Log-mel features to log probabilities of tokens; parameters are named as in NeMo."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConformerEncoder(config)
        self.decoder = ConvDecoder(config.d_model, config.vocabulary + 1)

    def forward(self, audio_signal: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Recognise; frames beyond an utterance's length do not change its result.

        Args:
            audio_signal: float32 [batch, features, time].
            length: int64 [batch], frames that count.

        Returns:
            `logprobs` float32 [batch, time', vocabulary + 1] and `encoded_lengths` int64 [batch].
        """
        states, encoded_lengths = self.encoder(audio_signal, length)
        return self.decoder(states[-1]), encoded_lengths

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def parameter_count(self) -> int:
        """Trained parameters."""
        return sum(p.numel() for p in self.parameters())
