"""The kernel library, once for every instruction set that it has and this processor offers."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime import kernels

VARIABLE = "CONFPRESS_KERNELS"
VBMI = "avx512vbmi"


def usable_paths() -> list[str]:
    """Names of the paths, or one entry that says why there are none."""
    try:
        info = kernels.describe()
    except ConfpressError as error:
        return [f"absent: {error}"]
    return [name for name in info.built if name in info.available]


def emulated_paths() -> list[str]:
    """What a build with CONFPRESS_EMULATE_VBMI runs and the installed library does not."""
    paths = usable_paths()
    return [VBMI] if "avx512vnni" in paths and VBMI not in paths else []


@pytest.fixture(scope="session", params=usable_paths())
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """File of a library that uses one instruction set."""
    if request.param.startswith("absent"):
        pytest.skip(request.param)
    return using(request.param, kernels.library_path(), tmp_path_factory.mktemp("kernels"))


def using(path: str, library: Path, folder: Path) -> str:
    """File of a copy of the library that uses one instruction set.

    A library chooses once, when it is first asked. A copy is a library of its own, so one process
    can hold all choices.
    """
    copy = folder / f"{path}.so"
    shutil.copyfile(library, copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, path)
        describe = ctypes.CDLL(str(copy)).confpress_kernel_paths
        describe.restype = ctypes.c_char_p
        assert f"chosen: {path}\n".encode() in describe()
    return str(copy)


@pytest.fixture(scope="session")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of fuzz.cc for this processor, with sanitizers."""
    from .native import build_fuzz

    emulate = "ON" if emulated_paths() else "OFF"
    return build_fuzz(tmp_path_factory.mktemp("fuzz"), CONFPRESS_EMULATE_VBMI=emulate)
