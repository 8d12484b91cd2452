from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.training.data import (  # noqa: E402
    Corpus,
    Example,
    batches,
    collate,
    draw_epoch,
    prepare,
)
from confpress.models.training.vocabulary import CharacterVocabulary  # noqa: E402
from confpress.passes.errors import ConfpressError  # noqa: E402


def _examples(*frames: int) -> list[Example]:
    return [Example(np.full((4, n), n, np.float16), (n % 5,) * 2) for n in frames]


def test_records_become_examples() -> None:
    vocabulary = CharacterVocabulary()
    made = prepare(
        [(Path("a.flac"), "YES")], lambda path: np.ones((80, len(path.name))), vocabulary
    )
    assert made[0].features.shape == (80, 6)
    assert vocabulary.decode(list(made[0].targets)) == "yes"


def test_a_text_of_which_nothing_can_be_learned_is_refused() -> None:
    records = [(Path("a.flac"), "YES"), (Path("b.flac"), "12 – 34")]
    with pytest.raises(ConfpressError, match=r"text of b\.flac has no character .*'12 – 34'"):
        prepare(records, lambda path: np.ones((80, 6)), CharacterVocabulary())


@pytest.mark.parametrize("seed", [None, 1])
def test_batches_hold_everything_once_and_keep_to_the_limit(seed: int | None) -> None:
    random = None if seed is None else np.random.default_rng(seed)
    examples = _examples(*np.random.default_rng(0).integers(20, 300, 60).tolist())
    grouped = batches(examples, 1000, random)
    assert sorted(id(e) for b in grouped for e in b) == sorted(id(e) for e in examples)
    lengths = [[e.features.shape[1] for e in batch] for batch in grouped]
    assert all(max(row) * len(row) <= 1000 for row in lengths)
    # Like lengths go together: little of a padded batch is padding.
    padded = sum(max(row) * len(row) for row in lengths)
    assert padded < 1.2 * sum(map(sum, lengths))


def test_an_example_longer_than_a_batch_stands_alone() -> None:
    assert [len(b) for b in batches(_examples(50, 5000, 40), 1000, None)] == [2, 1]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (1.0, 10), (2.3, 23)])
def test_an_epoch_draws_the_share(share: float, expected: int) -> None:
    examples = _examples(*range(10, 20))
    drawn = draw_epoch([Corpus("a", examples, share)], np.random.default_rng(0))
    assert len(drawn) == expected
    counts = [sum(e is d for d in drawn) for e in examples]
    assert max(counts) - min(counts) <= 1


def test_collate_pads_with_zeros() -> None:
    features, lengths, targets, counts = collate(_examples(3, 6))
    assert features.shape == (2, 4, 6)
    assert features[0, 0].tolist() == [3, 3, 3, 0, 0, 0]
    assert lengths.tolist() == [3, 6]
    assert targets.tolist() == [3, 3, 1, 1]
    assert counts.tolist() == [2, 2]
