"""What a measurement was made on: processor, system and library versions."""

from __future__ import annotations

import platform
from importlib import metadata

import onnxruntime as ort
from pydantic import Field

from ..passes.errors import ConfpressError
from .kernels import describe
from .machine import describe_machine
from .record import Record

_LIBRARIES = ("confpress", "onnxruntime", "onnxruntime-gpu", "onnx", "onnx-ir", "numpy")


class Environment(Record):
    """Where and with what a measurement was made."""

    cpu: str = Field(description="processor's name")
    architecture: str = Field(description="x86_64, aarch64, ...")
    cpu_features: tuple[str, ...] = Field(description="instruction sets that kernels choose by")
    cores: int = Field(description="logical cores of the machine")
    usable_cores: int = Field(description="logical cores this process may run on")
    memory_bytes: int | None = Field(description="main memory, where it can be read")
    governor: str | None = Field(description="frequency governor, where it can be read")
    load_average: float | None = Field(description="runnable processes, mean of the last minute")
    system: str = Field(description="operating system and kernel")
    python: str
    libraries: dict[str, str] = Field(description="version by distribution name")
    providers: tuple[str, ...] = Field(description="execution providers of this ONNX Runtime")
    kernels: str | None = Field(
        description="instruction set that the kernel library uses here; none where it is not built"
    )


def describe_environment() -> Environment:
    """Read the environment of this process; what cannot be read is None."""
    return Environment(
        **describe_machine(),
        python=platform.python_version(),
        libraries=library_versions(),
        providers=tuple(ort.get_available_providers()),
        kernels=_kernels(),
    )


def _kernels() -> str | None:
    try:
        return describe().chosen
    except ConfpressError:
        return None


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute, by distribution name."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
