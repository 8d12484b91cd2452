"""What a measurement was made on: processor, system and library versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import onnxruntime as ort
from pydantic import Field

from ..passes.errors import ConfpressError
from .kernels import describe
from .record import Record

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_LIBRARIES = ("confpress", "onnxruntime", "onnxruntime-gpu", "onnx", "onnx-ir", "numpy")

# Instruction sets that decide which kernel runs, by the kernel's names for them.
_FEATURES = (
    *("avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_vbmi"),
    *("avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)


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
    info = _key_values(_CPUINFO)
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Environment(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cpu_features=tuple(name for name in _FEATURES if name in flags),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        memory_bytes=_memory_bytes(),
        governor=_read(_GOVERNOR),
        load_average=_load_average(),
        system=_system(),
        python=platform.python_version(),
        libraries=_versions(),
        providers=tuple(ort.get_available_providers()),
        kernels=_kernels(),
    )


def usable_cores() -> int:
    """Logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _key_values(path: Path) -> dict[str, str]:
    """The first value of each `key : value` line."""
    values: dict[str, str] = {}
    for line in (_read(path) or "").splitlines():
        key, separator, value = line.partition(":")
        if separator:
            values.setdefault(key.strip(), value.strip())
    return values


def _memory_bytes() -> int | None:
    total = _key_values(_MEMINFO).get("MemTotal", "")
    return int(total.split()[0]) * 1024 if total.endswith("kB") else None


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _system() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.platform()}"
    except (OSError, KeyError):
        return platform.platform()


def _kernels() -> str | None:
    try:
        return describe().chosen
    except ConfpressError:
        return None


def _versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
