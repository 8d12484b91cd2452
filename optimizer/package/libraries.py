"""Kernel libraries of a bundle: this machine's, and those that were built for others."""

from __future__ import annotations

import platform
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

from ...passes.errors import ConfpressError
from ...runtime.kernels import describe
from .manifest import PackagedKernels

#: The machine that an ELF header names, as Python's platform names it there.
_MACHINES = {40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_MACHINE_AT = 18
#: What ONNX Runtime and we call in the library.
_ENTRIES = (b"RegisterCustomOps", b"confpress_kernel_paths")


def copy_libraries(others: Sequence[Path], folder: Path) -> tuple[PackagedKernels, ...]:
    """Copies this machine's library and others to `lib/<architecture>/`.

    Args:
        others: Libraries built elsewhere; one for this architecture replaces this machine's.
        folder: The package.

    Raises:
        ConfpressError: a file is no kernel library, or two are for one architecture.
    """
    info = describe()
    own = PackagedKernels(
        file=_copy(info.path, platform.machine(), folder),
        architecture=platform.machine(),
        paths=info.built,
        compiler=info.compiler,
    )
    found = {own.architecture: own}
    given: dict[str, Path] = {}
    for library in others:
        name = architecture(library)
        if name in given:
            raise ConfpressError(f"{given[name]} and {library} are both for {name}; give one.")
        given[name] = library
        found[name] = PackagedKernels(
            file=_copy(library, name, folder), architecture=name, paths=None, compiler=None
        )
    return tuple(found.values())


def architecture(library: Path) -> str:
    """The machine that a kernel library was built for, read without loading it.

    Raises:
        ConfpressError: it cannot be read, or is no kernel library of ours.
    """
    try:
        content = library.read_bytes()
    except OSError as error:
        raise ConfpressError(f"cannot read {library}: {error.strerror}.") from error
    if content[:4] != b"\x7fELF" or not all(entry in content for entry in _ENTRIES):
        raise ConfpressError(f"{library} is no kernel library of Confpress for Linux.")
    order = "<" if content[5] == 1 else ">"
    (machine,) = struct.unpack_from(f"{order}H", content, _MACHINE_AT)
    if machine not in _MACHINES:
        raise ConfpressError(
            f"{library} is for a machine that no package is made for (ELF machine {machine}); "
            f"known are {', '.join(_MACHINES.values())}."
        )
    return _MACHINES[machine]


def _copy(library: Path, machine: str, folder: Path) -> str:
    place = Path("lib") / machine / "libconfpress_kernels.so"
    (folder / place.parent).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(library, folder / place)
    return place.as_posix()
