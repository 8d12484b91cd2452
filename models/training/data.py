"""Examples in memory and batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...passes.errors import ConfpressError
from .vocabulary import CharacterVocabulary


@dataclass(frozen=True)
class Example:
    """Features [bands, frames] (float16 is enough) and the ids of the text."""

    features: npt.NDArray[np.floating]
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Corpus:
    """Examples of one origin; every epoch draws `share` of them (above 1: with repetition)."""

    name: str
    examples: Sequence[Example]
    share: float = 1.0


def prepare(
    records: Iterable[tuple[Path, str]],
    extract: Callable[[Path], npt.NDArray[np.floating]],
    vocabulary: CharacterVocabulary,
) -> list[Example]:
    """Turn (audio path, text) records into examples; `extract` gives features [bands, frames].

    Raises:
        ConfpressError: a text has no character of the vocabulary.
    """
    examples = []
    for path, text in records:
        targets = tuple(vocabulary.encode(text))
        if not targets:
            raise ConfpressError(
                f"the text of {path} has no character of the vocabulary: '{text}'; "
                "write numbers and signs as words, or leave it out."
            )
        examples.append(Example(extract(path).astype(np.float16), targets))
    return examples


def unlabelled(features: npt.NDArray[np.floating]) -> Example:
    """Features [bands, frames] as an example without a text."""
    return Example(features.astype(np.float16), ())


def draw_epoch(corpora: Sequence[Corpus], random: np.random.Generator) -> list[Example]:
    """The examples of one epoch."""
    drawn: list[Example] = []
    for corpus in corpora:
        count = len(corpus.examples)
        wanted = round(count * corpus.share)
        while wanted > 0:
            order = random.permutation(count)[:wanted]
            drawn += [corpus.examples[i] for i in order]
            wanted -= len(order)
    return drawn


def batches(
    examples: Sequence[Example], frames_per_batch: int, random: np.random.Generator | None
) -> list[list[Example]]:
    """Group examples of like length so that a padded batch has at most `frames_per_batch` frames.

    With `random`, lengths are jittered by 5 % before sorting and the batches come shuffled.
    """
    lengths = np.array([e.features.shape[1] for e in examples], dtype=np.float64)
    if random is not None:
        lengths *= random.uniform(0.95, 1.05, lengths.size)
    grouped: list[list[Example]] = [[]]
    longest = 0
    for i in np.argsort(lengths, kind="stable"):
        longest = max(longest, examples[i].features.shape[1])
        if grouped[-1] and longest * (len(grouped[-1]) + 1) > frames_per_batch:
            grouped.append([])
            longest = examples[i].features.shape[1]
        grouped[-1].append(examples[i])
    if random is not None:
        grouped = [grouped[i] for i in random.permutation(len(grouped))]
    return grouped


class Batch(NamedTuple):
    """Examples side by side.

    Attributes:
        features: float32 [batch, bands, time], zeros behind the shorter ones.
        lengths: int64 [batch], frames that count.
        targets: int64 [sum of target lengths], one text behind the other.
        target_lengths: int64 [batch].
    """

    features: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(tensor.to(device) for tensor in self))


def collate(batch: Sequence[Example]) -> Batch:
    """Pad examples to one length."""
    lengths = torch.tensor([e.features.shape[1] for e in batch])
    bands = batch[0].features.shape[0]
    features = torch.zeros(len(batch), bands, int(lengths.max()))
    for row, example in zip(features, batch, strict=True):
        row[:, : example.features.shape[1]] = torch.from_numpy(example.features)
    targets = torch.tensor([t for e in batch for t in e.targets], dtype=torch.int64)
    return Batch(features, lengths, targets, torch.tensor([len(e.targets) for e in batch]))
