"""The declarations of ort_api.h against ONNX Runtime's own header, where one is installed.

Debian 13 has it in `libonnxruntime-dev`; `CONFPRESS_ORT_INCLUDE` names the folder of another.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .native import ROOT, require

FOLDERS = (
    os.environ.get("CONFPRESS_ORT_INCLUDE", ""),
    "/usr/include/onnxruntime",
    "/usr/local/include/onnxruntime",
    "/usr/include/onnxruntime/core/session",
    "/usr/local/include/onnxruntime/core/session",
)


def test_declarations_are_those_of_the_official_header() -> None:
    require("c++")
    folder = next((each for each in FOLDERS if Path(each, "onnxruntime_c_api.h").is_file()), None)
    if not folder:
        pytest.skip(
            "ONNX Runtime's header is not installed; CONFPRESS_ORT_INCLUDE names its folder"
        )
    source = Path(__file__).with_name("abi.cc")
    includes = [f"-I{ROOT / 'runtime' / 'kernels'}", f"-isystem{folder}"]
    done = subprocess.run(
        ["c++", "-std=c++17", "-fsyntax-only", "-Wno-invalid-offsetof", *includes, source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
