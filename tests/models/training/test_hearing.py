from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.training.hearing import HearingConfig, versions

RATE = 16000
TONE = np.sin(np.arange(RATE, dtype=np.float32) * 0.2)
OTHER = np.cos(np.arange(RATE // 4, dtype=np.float32) * 0.3)


def _versions(seed: int = 1, **options: object) -> list[np.ndarray]:
    config = HearingConfig.model_validate({"mixed": 0.0, "disturbed": 0.0} | options)
    return list(versions(TONE, lambda: OTHER, RATE, config, np.random.default_rng(seed)))


def test_a_recording_is_heard_at_every_speed() -> None:
    heard = _versions(speeds=(0.5, 1.0, 2.0))
    assert [len(each) for each in heard] == [2 * RATE, RATE, RATE // 2]
    assert np.array_equal(heard[1], TONE)


def test_noise_has_the_ratio_that_is_asked_for() -> None:
    # A room that is gone after a thousandth of a second changes the level alone.
    (heard,) = _versions(speeds=(1.0,), disturbed=1, noise=(10, 10), reverberation=(1e-4, 1e-4))
    dry = np.dot(heard, TONE) / np.dot(TONE, TONE) * TONE
    ratio = 10 * np.log10(np.mean(dry**2) / np.mean((heard - dry) ** 2))
    assert ratio == pytest.approx(10, abs=0.5)


def test_another_recording_is_heard_somewhere_so_much_softer() -> None:
    first, second = _versions(speeds=(1.0, 1.0), mixed=1, mixture=(6, 6))
    for heard in (first, second):
        over = heard - TONE
        (places,) = np.nonzero(np.abs(over) > 1e-3)
        assert places[-1] - places[0] == pytest.approx(OTHER.size, abs=2)
        ratio = 10 * np.log10(np.mean(TONE**2) / np.mean(over**2))
        assert ratio == pytest.approx(6, abs=0.1)
    assert not np.array_equal(first, second)


def test_so_many_versions_are_disturbed() -> None:
    heard = _versions(speeds=(1.0,) * 200, disturbed=0.5)
    clean = sum(np.array_equal(each, TONE) for each in heard)
    # Neither in noise nor in a room: a quarter.
    assert 30 <= clean <= 70


def test_the_same_seed_gives_the_same_noise() -> None:
    first, again, other = (_versions(seed, disturbed=1) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("key", ["mixture", "noise", "reverberation"])
def test_ends_in_the_wrong_order_are_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="the lower end comes first"):
        HearingConfig.model_validate({key: (5.0, 1.0)})
