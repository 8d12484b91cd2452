"""A second folder of speech, and the command line run in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile
from confpress.optimizer.cli import run

#: A recipe for tests: nothing is measured that takes long.
FAST = """
[proof]
frames = [40, 61]
[lower]
measure = false
[bench]
seconds = [0.5]
rounds = 3
memory = false
"""


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    out: str
    err: str


Confpress = Callable[..., Done]


@pytest.fixture
def confpress(capfd: pytest.CaptureFixture[str]) -> Confpress:
    """Runs a command line; the arguments may be paths."""

    def call(*arguments: object) -> Done:
        capfd.readouterr()
        status = run([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return Done(status, out, err)

    return call


@pytest.fixture
def other_speech(speech_folder: Path, tmp_path: Path) -> Path:
    """Other recordings of the same texts, which may serve as another kind of data."""
    folder = Path(shutil.copytree(speech_folder, tmp_path / "other speech"))
    for path in folder.glob("*.flac"):
        audio, rate = soundfile.read(path)
        soundfile.write(path, audio[::-1], rate)
    return folder


@pytest.fixture
def fast_recipe(tmp_path: Path) -> Path:
    path = tmp_path / "fast.toml"
    path.write_text(FAST, encoding="utf-8")
    return path
