"""The kernel library, once for every instruction set that it has and this processor offers."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime import kernels

VARIABLE = "CONFPRESS_KERNELS"


def usable_paths() -> list[str]:
    """Names of the paths, or one entry that says why there are none."""
    try:
        info = kernels.describe()
    except ConfpressError as error:
        return [f"absent: {error}"]
    return [name for name in info.built if name in info.available]


@pytest.fixture(scope="session", params=usable_paths())
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """File of a library that uses one instruction set.

    A library chooses once, when it is first asked. A copy is a library of its own, so one process
    can hold all choices.
    """
    if request.param.startswith("absent"):
        pytest.skip(request.param)
    copy = tmp_path_factory.mktemp("kernels") / f"{request.param}.so"
    shutil.copyfile(kernels.library_path(), copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, request.param)
        describe = ctypes.CDLL(str(copy)).confpress_kernel_paths
        describe.restype = ctypes.c_char_p
        assert f"chosen: {request.param}\n".encode() in describe()
    return str(copy)


@pytest.fixture(scope="session")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of fuzz.cc for this processor, with sanitizers."""
    from .native import build_fuzz

    return build_fuzz(tmp_path_factory.mktemp("fuzz"))
