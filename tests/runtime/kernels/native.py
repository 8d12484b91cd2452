"""Builds what tests alone need: the program `confpress_fuzz` (fuzz.cc), libraries."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from .conftest import VARIABLE

ROOT = Path(__file__).parents[3]
# GCC's and Clang's own words where the run-time libraries of the sanitizers are not installed.
_MISSING = ("cannot find", "unable to find library", "No such file", "unsupported option")


def require(*programs: str) -> None:
    """Skips the test where a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def build_fuzz(folder: Path, **definitions: str) -> Path:
    """The program, built with these definitions."""
    return _build(folder, "confpress_fuzz", definitions) / "confpress_fuzz"


def build_linear(folder: Path, **definitions: str) -> Path:
    """A library of linear layers in int8 alone, built with these definitions."""
    return _build(folder, "confpress_linear", definitions) / "libconfpress_linear.so"


def compiled(source: Path, folder: Path) -> ctypes.CDLL:
    """A source file of the tests, compiled by the ordinary compiler with the kernels' headers."""
    library = folder / f"{source.stem}.so"
    done = _compile(source, library, "-fPIC", "-shared")
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def run_for_races(source: Path, folder: Path) -> None:
    """Runs a source file's program under ThreadSanitizer; skips the test where there is none."""
    program = folder / source.stem
    done = _compile(source, program, "-g1", "-fsanitize=thread")
    if done.returncode != 0 and _lacks_sanitizers(done.stderr):
        pytest.skip("the compiler's run-time library of ThreadSanitizer is not installed")
    assert done.returncode == 0, done.stderr
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer does not run where addresses are as random as here")
    assert done.returncode == 0, done.stderr


def _compile(source: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    require("c++")
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-pthread", *more]
    includes = f"-I{ROOT / 'runtime' / 'kernels'}"
    command = ["c++", *flags, includes, str(source), "-o", str(output)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _build(folder: Path, target: str, definitions: Mapping[str, str]) -> Path:
    """Where the project's own CMake files put a target."""
    require("cmake")
    flags = [f"-D{name}={value}" for name, value in definitions.items()]
    cores = str(os.cpu_count() or 1)  # without a number Make starts every compiler at once
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), *flags],
        ["cmake", "--build", str(folder), "--target", target, "--parallel", cores],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        if done.returncode and ("No CMAKE_CXX_COMPILER" in output or _lacks_sanitizers(output)):
            pytest.skip("the compiler, or its sanitizers' libraries, are not installed")
        assert done.returncode == 0, output
    return folder / "runtime" / "kernels"


def run_fuzz(
    command: Sequence[str], path: str, cases: int, *, seed: int, outputs: Path | None = None
) -> str:
    """What the program prints of so many cases computed with one path."""
    environment = os.environ | {VARIABLE: path, "ASAN_OPTIONS": "allocator_may_return_null=1"}
    arguments = [str(cases), str(seed), *([] if outputs is None else [str(outputs)])]
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _lacks_sanitizers(output: str) -> bool:
    lines = [line for line in output.splitlines() if "san" in line]
    return any(word in line for line in lines for word in _MISSING)
