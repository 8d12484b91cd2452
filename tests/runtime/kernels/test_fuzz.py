"""Hostile models against kernels that were built with AddressSanitizer and UBSan."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import emulated_paths, usable_paths
from .native import run_fuzz

CASES = 2000


@pytest.mark.parametrize("path", usable_paths() + emulated_paths())
def test_hostile_models_are_refused_or_computed_within_their_tensors(fuzz: Path, path: str) -> None:
    if path.startswith("absent"):
        pytest.skip(path)
    refused, _, computed, _ = run_fuzz([str(fuzz)], path, CASES, seed=5).split()
    assert int(refused) > CASES // 10
    assert int(computed) > CASES // 4
