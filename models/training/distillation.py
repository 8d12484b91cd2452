"""Learning to do what the model did before it was made smaller, from speech without texts.

Layerwise distillation of a pruned Conformer from the unpruned one (Jiang et al., Interspeech 2023)
with the output term of CoFi (Xia et al. 2022): the scores of every frame, and the output of every
block.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ..ctc import ConformerCTC
from .data import Batch, Example, collate
from .loop import TrainingConfig
from .objective import Loss


class FinetuningConfig(TrainingConfig):
    """Options of a run that begins with a trained model."""

    epochs: int = Field(default=20, gt=0, description="the schedule ends after these epochs")
    frames_per_batch: int = Field(default=2000, gt=0, description="frames of a padded batch")
    learning_rate: float = Field(default=5e-4, gt=0, description="highest rate")
    weight_decay: float = Field(default=1e-3, ge=0, description="of AdamW")
    batch_statistics: bool = Field(
        default=False,
        description="normalise by the statistics of each batch; else by those that the model has, "
        "as when it is served",
    )
    average_decay: float = Field(default=0.99, ge=0, lt=1, description="of the averaged weights")


class DistillationConfig(BaseModel):
    """What is learned from the teacher."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer_weight: float = Field(
        default=10.0, ge=0, description="weight of the mean of the blocks' relative errors"
    )
    temperature: float = Field(
        default=1.0, gt=0, description="divides the logarithms of both models' probabilities"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="in the model that learns")


class Distillation:
    """KL divergence of the scores from the teacher's, plus the blocks' relative squared errors.

    A block's error is ``|h - h_teacher|² / |h_teacher|²``.
    """

    def __init__(self, teacher: ConformerCTC, config: DistillationConfig) -> None:
        """Prepares the objective; the teacher is not trained."""
        self.teacher = teacher.eval().requires_grad_(False)
        self.config = config

    def student(self) -> ConformerCTC:
        """A model that begins as the teacher is."""
        student = copy.deepcopy(self.teacher).requires_grad_(True)
        for module in student.modules():
            if isinstance(module, nn.Dropout):
                module.p = self.config.dropout
        return student

    def loss(self, model: ConformerCTC, batch: Batch) -> Loss:
        """The loss per frame; what is told is the divergence alone."""
        states, encoded = model.encoder(batch.features, batch.lengths)
        with torch.no_grad():
            wanted, _ = self.teacher.encoder(batch.features, batch.lengths)
            wanted_scores = self.teacher.decoder(wanted[-1])
        heard = (
            torch.arange(wanted_scores.shape[1], device=encoded.device)[None, :] < encoded[:, None]
        )
        scores = model.decoder(states[-1])
        divergence = _divergence(scores[heard], wanted_scores[heard], self.config.temperature)
        layers = torch.stack(
            [
                nn.functional.mse_loss(state[heard], teacher[heard])
                / teacher[heard].square().mean()
                for state, teacher in zip(states, wanted, strict=True)
            ]
        ).mean()
        return Loss(divergence + self.config.layer_weight * layers, divergence.item())

    def error(self, model: ConformerCTC, grouped: Sequence[Sequence[Example]]) -> float:
        """The mean divergence of a frame's scores from the teacher's, in nats."""
        total, frames = 0.0, 0
        for batch in grouped:
            collated = collate(batch).to(model.device)
            scores, encoded = model(collated.features, collated.lengths)
            wanted, _ = self.teacher(collated.features, collated.lengths)
            heard = torch.arange(scores.shape[1], device=encoded.device)[None, :] < encoded[:, None]
            total += _divergence(scores[heard], wanted[heard]).item() * int(heard.sum())
            frames += int(heard.sum())
        return total / max(frames, 1)


def _divergence(scores: Tensor, wanted: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean KL divergence of frames [count, classes] of log-probabilities, times temperature²."""
    given, target = (
        nn.functional.log_softmax(each / temperature, dim=-1) for each in (scores, wanted)
    )
    divergence = nn.functional.kl_div(given, target, reduction="batchmean", log_target=True)
    return divergence * temperature**2
