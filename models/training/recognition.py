"""Learning to recognise from texts: CTC."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
import torch
from pydantic import Field
from torch import Tensor, nn

from ..ctc import ConformerCTC
from .data import Batch, Example, collate
from .loop import TrainingConfig
from .objective import Loss
from .vocabulary import CharacterVocabulary


class RecognitionConfig(TrainingConfig):
    """Options of a run that learns from texts."""

    intermediate_weight: float = Field(
        default=0.3, ge=0, lt=1, description="share of the CTC loss taken in the middle block"
    )


class Recognition:
    """CTC (Graves et al. 2006), in part of the middle block (Lee and Watanabe 2021)."""

    def __init__(self, vocabulary: CharacterVocabulary, intermediate_weight: float) -> None:
        """Prepares the objective.

        Args:
            vocabulary: Of the texts.
            intermediate_weight: Share of the loss that is taken in the middle block.
        """
        self.vocabulary = vocabulary
        self.intermediate_weight = intermediate_weight

    def loss(self, model: ConformerCTC, batch: Batch) -> Loss:
        """The loss per target token; what is told leaves the middle block out."""
        states, encoded = model.encoder(batch.features, batch.lengths)
        last = self._ctc(model, states[-1], encoded, batch)
        weight = self.intermediate_weight
        if weight == 0 or len(states) == 1:
            return Loss(last, last.item())
        early = self._ctc(model, states[len(states) // 2 - 1], encoded, batch)
        return Loss((1 - weight) * last + weight * early, last.item())

    def error(self, model: ConformerCTC, grouped: Sequence[Sequence[Example]]) -> float:
        """The word error rate with greedy decoding, as a fraction."""
        references, hypotheses = [], []
        for batch in grouped:
            collated = collate(batch).to(model.device)
            logprobs, encoded = model(collated.features, collated.lengths)
            for example, row, length in zip(batch, logprobs, encoded, strict=True):
                references.append(self.vocabulary.decode(list(example.targets)))
                hypotheses.append(self.vocabulary.decode(best_path(row[:length])))
        return float(jiwer.wer(references, hypotheses))

    def _ctc(self, model: ConformerCTC, states: Tensor, encoded: Tensor, batch: Batch) -> Tensor:
        """CTC loss per target token; of a batch in which nothing is said, the sum."""
        logprobs = model.decoder(states).transpose(0, 1)
        loss = nn.functional.ctc_loss(
            logprobs,
            batch.targets,
            encoded,
            batch.target_lengths,
            blank=len(self.vocabulary),
            reduction="sum",
            zero_infinity=True,
        )
        return loss / batch.target_lengths.sum().clamp(min=1)


def best_path(logprobs: Tensor) -> list[int]:
    """Greedy CTC of [frames, classes]; the blank is the last class."""
    merged = torch.unique_consecutive(logprobs.argmax(dim=-1))
    return [int(token) for token in merged if token != logprobs.shape[-1] - 1]
