from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime import environment, machine
from confpress.runtime.environment import Environment, describe_environment


def test_environment_of_this_process() -> None:
    found = describe_environment()
    assert found.libraries["numpy"] == np.__version__
    assert ort.__version__ in (
        found.libraries.get("onnxruntime"),
        found.libraries.get("onnxruntime-gpu"),
    )
    assert "CPUExecutionProvider" in found.providers
    assert 1 <= found.usable_cores <= found.cores == os.cpu_count()
    assert found.cpu
    assert Environment.model_validate_json(found.model_dump_json()) == found


def test_what_cannot_be_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ConfpressError("it is not built.")

    for name in ("_CPUINFO", "_MEMINFO", "_GOVERNOR"):
        monkeypatch.setattr(machine, name, tmp_path / "none")
    monkeypatch.setattr(environment, "describe", missing)
    found = describe_environment()
    assert (found.memory_bytes, found.governor, found.kernels) == (None, None, None)
    assert found.cpu_features == ()
    assert found.cpu


def test_cpu_features_are_read_from_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 fma avx512_vnni\n")
    monkeypatch.setattr(machine, "_CPUINFO", info)
    found = describe_environment()
    assert found.cpu == "Some CPU"
    assert found.cpu_features == ("avx2", "fma", "avx512_vnni")
