"""The kernel library, once for every instruction set that it has and this processor offers."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime import kernels

VARIABLE = "CONFPRESS_KERNELS"
VNNI, VBMI, AMX = "avx512vnni", "avx512vbmi", "amx"
#: What a build with CONFPRESS_EMULATE runs on a processor with AVX-512 VNNI.
EMULATED = ("avxvnni", VBMI, AMX)


def usable_paths() -> list[str]:
    """Names of the paths, or one entry that says why there are none."""
    try:
        info = kernels.describe()
    except ConfpressError as error:
        return [f"absent: {error}"]
    return [name for name in info.built if name in info.available]


def emulated_paths() -> list[str]:
    """What a build with CONFPRESS_EMULATE runs and the installed library does not."""
    paths = usable_paths()
    return [path for path in EMULATED if VNNI in paths and path not in paths]


@pytest.fixture(scope="session", params=usable_paths())
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """File of a library that uses one instruction set."""
    if request.param.startswith("absent"):
        pytest.skip(request.param)
    return using(request.param, kernels.library_path(), tmp_path_factory.mktemp("kernels"))


@pytest.fixture(
    scope="session", params=usable_paths() + [f"{path} emulated" for path in emulated_paths()]
)
def linear_library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same for linear layers in int8, also of instruction sets that are emulated."""
    path, emulated, _ = request.param.partition(" emulated")
    if path.startswith("absent"):
        pytest.skip(path)
    library = request.getfixturevalue("emulating") if emulated else kernels.library_path()
    return using(path, library, tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="session")
def emulating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of linear layers in int8 that emulates."""
    from .native import build_linear

    return build_linear(tmp_path_factory.mktemp("emulating"), CONFPRESS_EMULATE="ON")


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
    return build_fuzz(tmp_path_factory.mktemp("fuzz"), CONFPRESS_EMULATE=emulate)
