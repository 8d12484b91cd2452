from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confpress.optimizer.cli import COMMANDS, sentence
from confpress.passes.errors import ConfpressError

from .conftest import Confpress

HEAVY = ("onnx", "onnx_ir", "onnxruntime", "numpy", "pydantic", "torch", "scipy", "rich")


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from confpress.optimizer.cli import run\n"
        "status = run(sys.argv[1:])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    for arguments in (["--help"], ["optimize", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stderr.strip() == "[]"
        assert done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(confpress: Confpress, command: str) -> None:
    done = confpress(command, "--help")
    assert done.status == 0
    assert "--json" in done.out or command in ("demo", "export", "train")
    assert f"confpress {command}" in done.out
    assert command in confpress("--help").out


def test_what_went_wrong_is_one_sentence() -> None:
    assert sentence(ConfpressError("no period")) == "no period."
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/cpu/model.onnx")
    assert sentence(full) == "out/cpu/model.onnx: No space left on device."
    assert "memory" in sentence(MemoryError())
    unknown = sentence(KeyError("a\nb"))
    assert "fault of Confpress" in unknown
    assert "\n" not in unknown


def test_a_reader_that_leaves_early_is_no_error(tiny_ctc: Path) -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m confpress.optimizer inspect '{tiny_ctc}' | head -1 >/dev/null",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
