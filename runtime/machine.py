"""The machine that a measurement was made on; the standard library alone."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

# Instruction sets that decide which kernel runs, by the kernel's names for them.
_FEATURES = (
    *("avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_vbmi"),
    *("avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)


def describe_machine() -> dict[str, Any]:
    """Processor, memory and system of this process; what cannot be read is None.

    Returns:
        The fields of `Environment` that describe the machine, by name.
    """
    info = _key_values(_CPUINFO)
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cpu_features": tuple(name for name in _FEATURES if name in flags),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "memory_bytes": _memory_bytes(),
        "governor": _read(_GOVERNOR),
        "load_average": _load_average(),
        "system": _system(),
    }


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
    except (OSError, KeyError, AttributeError):  # Python before 3.10
        return platform.platform()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
