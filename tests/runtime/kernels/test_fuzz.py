"""Hostile models against kernels that were built with AddressSanitizer and UBSan."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import VARIABLE, usable_paths

ROOT = Path(__file__).parents[3]
CASES = 2000
# GCC's and Clang's own words where the run-time libraries of the sanitizers are not installed.
MISSING = ("cannot find", "unable to find library", "No such file", "unsupported option")


@pytest.fixture(scope="session")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built by the project's own CMake files."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    folder = tmp_path_factory.mktemp("fuzz")
    commands = (
        ["cmake", "-S", str(ROOT), "-B", str(folder)],
        ["cmake", "--build", str(folder), "--target", "confpress_fuzz", "--parallel"],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        if done.returncode and ("No CMAKE_CXX_COMPILER" in output or _lacks_sanitizers(output)):
            pytest.skip("the compiler, or its sanitizers' libraries, are not installed")
        assert done.returncode == 0, output
    return folder / "runtime" / "kernels" / "confpress_fuzz"


def _lacks_sanitizers(output: str) -> bool:
    lines = [line for line in output.splitlines() if "san" in line]
    return any(word in line for line in lines for word in MISSING)


@pytest.mark.parametrize("path", usable_paths())
def test_hostile_models_are_refused_or_computed_within_their_tensors(fuzz: Path, path: str) -> None:
    if path.startswith("absent"):
        pytest.skip(path)
    environment = os.environ | {VARIABLE: path, "ASAN_OPTIONS": "allocator_may_return_null=1"}
    done = subprocess.run(
        [fuzz, str(CASES), "5"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    refused, _, computed, _ = done.stdout.split()
    assert int(refused) > CASES // 10
    assert int(computed) > CASES // 4
