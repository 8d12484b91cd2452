"""The training loop: AdamW, warm-up and cosine, averaged weights, resumable checkpoints.

What is learned is an :class:`.objective.Objective`; what happens to the weights meanwhile, so that
the model can be made smaller, a :class:`~..compression.Compression`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...passes.errors import ConfpressError
from ..compression import Compression
from ..config import ConformerConfig
from ..ctc import ConformerCTC
from ..files import whole
from ..subsampling import subsampled
from .augment import SpecAugment
from .data import Corpus, Example, batches, collate, draw_epoch
from .objective import Objective
from .parallel import Workers
from .vocabulary import CharacterVocabulary


class TrainingConfig(BaseModel):
    """Options of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=50, gt=0, description="the schedule ends after these epochs")
    minutes: float | None = Field(
        default=None, gt=0, description="or after this time, whichever is first"
    )
    frames_per_batch: int = Field(default=4000, gt=0, description="frames of a padded batch")
    learning_rate: float = Field(default=1.5e-3, gt=0, description="highest rate")
    final_rate: float = Field(default=0.01, ge=0, description="last rate by the highest")
    warmup: float = Field(default=0.06, ge=0, lt=1, description="share of the run")
    weight_decay: float = Field(default=1e-2, ge=0, description="of AdamW")
    clip_norm: float = Field(default=1.0, gt=0, description="gradient norm")
    average_decay: float = Field(default=0.998, ge=0, lt=1, description="of the averaged weights")
    device: str = Field(
        default="cpu", description="where torch computes: `cpu`, or `cuda` (tried on no GPU yet)"
    )
    threads: int = Field(default=1, gt=0, description="threads of torch")
    batch_statistics: bool = Field(
        default=True,
        description="normalise by the statistics of each batch, as from scratch; else by those "
        "that the model has",
    )
    bfloat16: bool = Field(
        default=False, description="multiply in bfloat16; faster where the processor has AMX"
    )
    seed: int = Field(default=1, description="of first weights, order, masks and dropout")


def found_device(name: str) -> torch.device:
    """The device of a name.

    Raises:
        ConfpressError: torch has none of this name here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfpressError(f"torch cannot compute on '{name}' here: {error}") from error
    return device


def seeded_model(shape: ConformerConfig, seed: int) -> ConformerCTC:
    """A model whose first weights are the seed's."""
    torch.manual_seed(seed)
    return ConformerCTC(shape)


@dataclass(frozen=True)
class Progress:
    """A moment of the run."""

    epoch: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    audio_rate: float
    done: float
    minutes_left: float


@dataclass(frozen=True)
class EpochResult:
    """What an epoch reached; `error` is the objective's, on the validation examples."""

    epoch: int
    loss: float
    error: float
    minutes: float


class Trainer:
    """Trains a `ConformerCTC` and keeps `last.pt` and `best.pt` in a folder.

    In a process group every worker takes its share of the batches, and the first one validates
    and writes. The validation uses the averaged weights, and `best.pt` holds those with the lowest
    error on the validation examples; while a compression is still under way none count.
    """

    def __init__(
        self,
        model: ConformerCTC,
        objective: Objective,
        config: TrainingConfig,
        folder: Path,
        *,
        augment: SpecAugment | None = None,
        compression: Compression | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepares a run.

        Args:
            model: What is trained; a compression is attached to it here.
            objective: What it learns.
            config: How.
            folder: Keeps the checkpoints.
            augment: Changes the features of every batch.
            compression: What happens to the weights.
            facts: Stands in the checkpoints beside the weights.
        """
        torch.set_num_threads(config.threads)
        self.workers = Workers()
        torch.manual_seed(config.seed + self.workers.rank)
        self.device = found_device(config.device)
        self.model = model.to(self.device)
        self.objective = objective
        self.config = config
        self.folder = folder
        self.augment = augment
        self.compression = compression or Compression(())
        self.facts = dict(facts or {})
        self.random = np.random.default_rng(config.seed)
        self.compression.attach(model)
        averaging = get_ema_multi_avg_fn(config.average_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(model, multi_avg_fn=averaging, use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            self.compression.parameter_groups(model, config.learning_rate, config.weight_decay),
            betas=(0.9, 0.98),
            fused=True,
        )
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self.workers.share(model)
        self.epoch = 0
        self.lowest_error = math.inf
        self._earlier_seconds = 0.0
        self._started = time.monotonic()

    def fit(
        self,
        corpora: Sequence[Corpus],
        validation: Sequence[Example],
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_epoch: Callable[[EpochResult], None] = lambda result: None,
    ) -> float:
        """Train until the schedule ends.

        Returns:
            The objective's lowest error on `validation`.

        Raises:
            ConfpressError: an utterance is longer than the model's position table.
        """
        _check_lengths([*validation, *(e for c in corpora for e in c.examples)], self.model.config)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        while self.epoch < self.config.epochs and self.workers.mean(self._done()) < 1.0:
            loss = self._train_epoch(corpora, on_progress)
            self.epoch += 1
            self.workers.average_buffers(self.model)
            self.workers.average_buffers(self.average)
            random_states = self.workers.gather(torch.get_rng_state())
            if self.workers.first:
                error = self.validate(validation)
                if error <= self.lowest_error and self.compression.settled:
                    self.lowest_error = error
                    self._write("best.pt", {"model": self.average.module.state_dict()})
                self._save(random_states)
                on_epoch(EpochResult(self.epoch, loss, error, self._seconds() / 60))
        return self.lowest_error

    def validate(self, examples: Sequence[Example]) -> float:
        """The objective's error of the averaged weights."""
        model = cast(ConformerCTC, self.average.module.eval())
        with torch.inference_mode():
            grouped = batches(examples, self.config.frames_per_batch, None)
            return self.objective.error(model, grouped)

    def best(self) -> ConformerCTC:
        """The averaged weights of `best.pt`, in the model's form."""
        with _reading(self.folder / "best.pt") as state:
            self.average.module.load_state_dict(state["model"])
        return cast(ConformerCTC, self.average.module.eval())

    def resume(self) -> bool:
        """Go on from `last.pt`, if there is one.

        Raises:
            ConfpressError: the file is not a checkpoint, or it belongs to another model.
        """
        path = self.folder / "last.pt"
        if not path.is_file():
            return False
        with _reading(path) as state:
            self._go_on(state, path)
        return True

    def _go_on(self, state: dict[str, Any], path: Path) -> None:
        """Takes everything from a checkpoint's state."""
        shape = self.model.config.model_dump(exclude={"dropout"})
        if ConformerConfig(**state["config"]).model_dump(exclude={"dropout"}) != shape:
            raise ConfpressError(f"{path} belongs to a model of another shape.")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.compression.load_state_dict(state["compression"])
        self.random.bit_generator.state = state["numpy_random"]
        if self.workers.count == len(state["torch_random"]):
            torch.set_rng_state(state["torch_random"][self.workers.rank])
        else:
            torch.manual_seed(self.config.seed + self.workers.rank + 1000 * state["epoch"])
        self.epoch = state["epoch"]
        self.lowest_error = state["lowest_error"]
        self._earlier_seconds = state["seconds"]

    def _train_epoch(
        self, corpora: Sequence[Corpus], on_progress: Callable[[Progress], None]
    ) -> float:
        self.model.train()
        if not self.config.batch_statistics:
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.eval()
        grouped = batches(
            draw_epoch(corpora, self.random), self.config.frames_per_batch, self.random
        )
        if self.epoch == 0:
            # Short utterances first: CTC leaves the all-blank plateau sooner.
            grouped.sort(key=lambda batch: batch[0].features.shape[1])
        grouped = self.workers.part(grouped)
        losses: list[float] = []
        frames, started = 0, time.monotonic()
        for step, batch in enumerate(grouped, start=1):
            # The workers' clocks differ, and all must take the same number of steps.
            done = self.workers.mean(self._done(step / len(grouped)))
            rate = self._set_rate(done)
            if self.compression.advance(done):
                # A mean over weights before and after a jump is no model's.
                self.average.module.load_state_dict(self.model.state_dict())
            losses.append(self._step(batch))
            frames += sum(e.features.shape[1] for e in batch)
            if self.workers.first and (step % 50 == 0 or step == len(grouped)):
                left = self._seconds() * (1 - done) / max(done, 1e-6) / 60
                audio_rate = self.workers.count * frames / 100 / (time.monotonic() - started)
                recent = float(np.mean(losses[-50:]))
                on_progress(
                    Progress(
                        self.epoch + 1, step, len(grouped), recent, rate, audio_rate, done, left
                    )
                )
            if done >= 1.0:
                break
        return float(np.mean(losses)) if losses else math.nan

    def _step(self, batch: Sequence[Example]) -> float:
        collated = collate(batch).to(self.device)
        if self.augment is not None:
            changed = self.augment(collated.features, collated.lengths)
            collated = collated._replace(features=changed)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            loss = self.objective.loss(self.model, collated)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.total + self.compression.penalty())
        self.workers.average_gradients(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        return loss.told

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started

    def _done(self, of_epoch: float = 0.0) -> float:
        """Share of the run that is over, by epochs or by time, whichever is ahead."""
        by_epochs = (self.epoch + of_epoch) / self.config.epochs
        if self.config.minutes is None:
            return by_epochs
        return max(by_epochs, min(self._seconds() / 60 / self.config.minutes, 1.0))

    def _set_rate(self, done: float) -> float:
        config = self.config
        if done < config.warmup:
            scale = done / config.warmup
        else:
            cosine = (1 + math.cos(math.pi * (done - config.warmup) / (1 - config.warmup))) / 2
            scale = config.final_rate + (1 - config.final_rate) * cosine
        for group, highest in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = highest * scale
        return config.learning_rate * scale

    def _save(self, random_states: list[Tensor]) -> None:
        self._write(
            "last.pt",
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "numpy_random": self.random.bit_generator.state,
                "torch_random": random_states,
                "epoch": self.epoch,
                "lowest_error": self.lowest_error,
                "compression": self.compression.state_dict(),
                "seconds": self._seconds(),
            },
        )

    def _write(self, name: str, state: dict[str, Any]) -> None:
        """Write a checkpoint whole or not at all."""
        state = state | {"config": self.model.config.model_dump()} | self.facts
        with whole(self.folder / name) as place:
            torch.save(state, place)


def _check_lengths(examples: Sequence[Example], shape: ConformerConfig) -> None:
    """Refuses utterances that a stored position table does not cover."""
    frames = max(example.features.shape[1] for example in examples)
    positions = int(subsampled(torch.tensor(frames), shape.subsampling_factor))
    if shape.max_positions is not None and positions > shape.max_positions:
        raise ConfpressError(
            f"an utterance of {frames} frames takes {positions} positions, and the model has "
            f"{shape.max_positions} (max_positions)."
        )


def load_checkpoint(path: Path) -> tuple[ConformerCTC, CharacterVocabulary]:
    """The averaged weights of `best.pt` or `last.pt`, in evaluation mode.

    Raises:
        ConfpressError: the file is not a checkpoint of this trainer.
    """
    with _reading(path) as state:
        model = ConformerCTC(ConformerConfig(**state["config"]))
        weights = state["model"]
        if "average" in state:
            prefix = "module."
            average = state["average"].items()
            weights = {k.removeprefix(prefix): v for k, v in average if k.startswith(prefix)}
        model.load_state_dict(weights)
        return model.eval(), CharacterVocabulary(state["characters"])


@contextlib.contextmanager
def _reading(checkpoint: Path) -> Iterator[dict[str, Any]]:
    """Reads a checkpoint; says of whatever fails with its state that it is none."""
    try:
        yield torch.load(checkpoint, map_location="cpu", weights_only=True)
    except ConfpressError:
        raise
    except KeyError as error:
        raise ConfpressError(
            f"{checkpoint} lacks {error}: it is not a checkpoint of this version."
        ) from error
    except Exception as error:
        raise ConfpressError(
            f"{checkpoint} is not a checkpoint of this package: {error}"
        ) from error
