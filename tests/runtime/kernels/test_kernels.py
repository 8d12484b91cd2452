from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime import kernels

ASK = """
import onnxruntime
from confpress.passes.errors import ConfpressError
from confpress.runtime import kernels
try:
    print(kernels.describe().chosen)
except ConfpressError as error:
    print("describe:", error)
try:
    onnxruntime.SessionOptions().register_custom_ops_library(str(kernels.library_path()))
except Exception as error:
    print("register:", error)
"""

LEAVE = """
import sys
import onnxruntime
onnxruntime.SessionOptions().register_custom_ops_library(sys.argv[1])
with open("/proc/self/maps") as maps:
    print(sys.argv[1] in maps.read())
"""


def _ask(path: str) -> str:
    environment = os.environ | {"CONFPRESS_KERNELS": path}
    result = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout


def test_chosen_is_the_best_that_is_built_and_available() -> None:
    info = kernels.describe()
    assert info.path == kernels.library_path()
    assert info.built[0] == "portable"
    assert info.available[0] == "portable"
    usable = [name for name in info.built if name in info.available]
    if "CONFPRESS_KERNELS" not in os.environ:
        assert info.chosen == usable[-1]
    assert any(character.isdigit() for character in info.compiler)


def test_variable_forces_every_usable_path() -> None:
    info = kernels.describe()
    for name in info.built:
        answer = _ask(name)
        if name in info.available:
            assert answer.strip() == name
        else:
            assert "which this processor does not offer" in answer


def test_unknown_path_is_a_sentence_here_and_in_onnxruntime() -> None:
    described, registered = _ask("sse9").splitlines()
    sentence = (
        "CONFPRESS_KERNELS is 'sse9', which is none of "
        "portable, avx2, avxvnni, avx512vnni, avx512vbmi, amx, neondot."
    )
    assert described == f"describe: {sentence}"
    assert registered.startswith("register:")
    assert registered.endswith(sentence)


def test_unknown_path_may_be_any_bytes() -> None:
    described = _ask(os.fsdecode(b"\xff")).splitlines()[0]
    assert described.startswith("describe: CONFPRESS_KERNELS is '")


def test_absent_library_says_how_to_build_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernels, "__path__", [str(tmp_path)])
    with pytest.raises(ConfpressError, match=r"pip install \."):
        kernels.library_path()


def test_broken_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / kernels.library_path().name).write_bytes(b"not a library")
    monkeypatch.setattr(kernels, "__path__", [str(tmp_path)])
    with pytest.raises(ConfpressError, match="cannot be loaded"):
        kernels.describe()


def test_library_outlives_its_sessions() -> None:
    """Loaded anew for every session it would leave memory behind, each time."""
    if not Path("/proc/self/maps").is_file():
        pytest.skip("this system does not say what a process has loaded")
    result = subprocess.run(
        [sys.executable, "-c", LEAVE, str(kernels.library_path().resolve())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "True\n"


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm of the binutils")
def test_only_the_two_entries_are_exported() -> None:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", kernels.library_path()],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.split()[-1] for line in listing.stdout.splitlines()}
    assert names == {"RegisterCustomOps", "confpress_kernel_paths"}
