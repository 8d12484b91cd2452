"""The compiled kernels: where the library lies, and which instruction sets it uses.

The library is loaded by ONNX Runtime (`SessionOptions.register_custom_ops_library`) and links
neither ONNX Runtime nor Python.
`CONFPRESS_KERNELS=portable|avx2|avxvnni|avx512vnni|avx512vbmi|amx|neondot` forces one path.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from ...passes.errors import ConfpressError

__all__ = ["KernelInfo", "describe", "library_path"]

_NAME = "libconfpress_kernels.so"


@dataclass(frozen=True)
class KernelInfo:
    """What the kernel library was built with and what it uses here.

    Attributes:
        path: The library's file.
        built: Names of the paths compiled into it, from slow to fast.
        available: Names of the paths that this processor and operating system can run.
        chosen: The path that every kernel of this process uses.
        compiler: The compiler that built the library.
        cuda: Architectures of GPUs that the library has operators for, such as ``sm_90``; none
            where it was built without CUDA.
    """

    path: Path
    built: tuple[str, ...]
    available: tuple[str, ...]
    chosen: str
    compiler: str
    cuda: tuple[str, ...] = ()


def library_path() -> Path:
    """Returns the kernel library's file, for `SessionOptions.register_custom_ops_library`.

    Raises:
        ConfpressError: The library was not built.
    """
    # An editable installation keeps sources and library in two places; __path__ names both.
    folders = [Path(folder) / "lib" for folder in __path__]
    for folder in folders:
        if (folder / _NAME).is_file():
            return folder / _NAME
    places = " or ".join(str(folder) for folder in folders)
    raise ConfpressError(
        f"The kernel library {_NAME} is not in {places}: install the package with "
        "`pip install .`, or build it in place with `cmake -B build && cmake --build build`."
    )


def describe() -> KernelInfo:
    """Reports the paths of the kernel library without loading ONNX Runtime.

    Raises:
        ConfpressError: The library was not built or cannot be loaded, or CONFPRESS_KERNELS names
            a path that does not exist or that this processor does not offer.
    """
    path = library_path()
    try:
        entry = ctypes.CDLL(str(path)).confpress_kernel_paths
    except (OSError, AttributeError) as error:
        raise ConfpressError(f"The kernel library {path} cannot be loaded: {error}.") from error
    entry.restype = ctypes.c_char_p
    lines: bytes = entry() or b""
    fields = dict(line.partition(": ")[::2] for line in lines.decode(errors="replace").splitlines())
    if fields.get("problem"):
        raise ConfpressError(fields["problem"])
    return KernelInfo(
        path=path,
        built=tuple(fields["built"].split()),
        available=tuple(fields["available"].split()),
        chosen=fields["chosen"],
        compiler=fields["compiler"],
        cuda=tuple(fields["cuda"].split()),
    )
