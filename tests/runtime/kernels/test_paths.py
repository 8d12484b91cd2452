"""All instruction sets against the portable code, those of another processor under QEMU too.

The program of the fuzz test computes the same layers with every path and writes all outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .conftest import emulated_paths, usable_paths
from .native import build_fuzz, require, run_fuzz

CASES = 1500
#: Difference as a share of the tensor's largest magnitude.
TOLERANCE = 2e-6
#: Some paths take the sigmoid of anything below -87 for that of -87, which is this small.
LEAST = float(np.exp(-87.0)) * (1 + TOLERANCE)
AARCH64 = {
    "CMAKE_SYSTEM_NAME": "Linux",
    "CMAKE_SYSTEM_PROCESSOR": "aarch64",
    "CMAKE_CXX_COMPILER": "aarch64-linux-gnu-g++",
}


def _outputs(command: list[str], path: str, file: Path) -> list[np.ndarray]:
    run_fuzz(command, path, CASES, seed=9, outputs=file)
    floats = np.fromfile(file, np.float32)
    tensors, at = [], 0
    while at < floats.size:
        end = at + 1 + int(floats[at])
        tensors.append(floats[at + 1 : end])
        at = end
    assert at == floats.size
    return tensors


def _compare(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(actual) == len(expected) > CASES // 3
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        finite = np.isfinite(theirs)
        np.testing.assert_array_equal(np.isfinite(ours), finite)
        if finite.any():
            allowed = max(TOLERANCE * np.abs(theirs[finite]).max(), LEAST)
            assert np.abs(ours[finite] - theirs[finite]).max() <= allowed


@pytest.fixture(scope="module")
def outputs(
    fuzz: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], list[np.ndarray]]:
    """All outputs of a path, computed once."""
    folder = tmp_path_factory.mktemp("outputs")
    return functools.cache(lambda path: _outputs([str(fuzz)], path, folder / path))


def test_paths_of_this_processor_agree(outputs: Callable[[str], list[np.ndarray]]) -> None:
    paths = [path for path in usable_paths() + emulated_paths() if path != "portable"]
    if not paths or paths[0].startswith("absent"):
        pytest.skip("this processor runs the portable path alone")
    for path in paths:
        _compare(outputs(path), outputs("portable"))


@pytest.mark.parametrize(("newer", "older"), [("avxvnni", "avx2"), ("avx512vbmi", "avx512vnni")])
def test_other_operators_run_what_the_older_instruction_set_has(
    outputs: Callable[[str], list[np.ndarray]], newer: str, older: str
) -> None:
    if newer not in usable_paths() + emulated_paths():
        pytest.skip(f"this processor neither runs nor emulates {newer}")
    for ours, theirs in zip(outputs(newer), outputs(older), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_neon_agrees_under_qemu(tmp_path: Path) -> None:
    require("aarch64-linux-gnu-g++", "qemu-aarch64")
    program = build_fuzz(tmp_path / "build", CONFPRESS_SANITIZERS="OFF", **AARCH64)
    command = ["qemu-aarch64", "-cpu", "max", "-L", "/usr/aarch64-linux-gnu", str(program)]
    expected = _outputs(command, "portable", tmp_path / "portable")
    _compare(_outputs(command, "neondot", tmp_path / "neondot"), expected)
