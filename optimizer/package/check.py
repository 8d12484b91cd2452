"""A package is checked by unpacking it elsewhere and running it there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...passes.errors import ConfpressError
from ...runtime.asr import transcribe
from ...runtime.session import create_session
from ...runtime.speech.manifest import Utterance
from .archive import unpack
from .clips import write_clips
from .source import Source

#: Given an unpacked package and recordings, the texts that it hears.
Hear = Callable[[Path, Sequence[Path]], Sequence[str]]


@dataclass(frozen=True)
class Checked:
    """What a package was checked with.

    Attributes:
        utterances: Recordings that it heard as the result's own model does.
        words: Words in them.
    """

    utterances: int
    words: int


def check(archive: Path, source: Source, hear: Hear) -> Checked:
    """Unpacks a package into a folder of its own and compares what it hears.

    Raises:
        ConfpressError: it does not run there, or hears another text than `confpress transcribe`.
    """
    with tempfile.TemporaryDirectory(prefix="confpress-") as name:
        folder = Path(name) / "elsewhere ü"
        unpack(archive, folder)
        clips = write_clips(Path(name), source.model.frontend.sample_rate)
        expected = expected_texts(source, clips)
        heard = hear(folder, [clip.path for clip in clips])
    for clip, text, own in zip(clips, heard, expected, strict=True):
        if text != own:
            raise ConfpressError(
                f"the package hears '{text}' in {clip.id}, but {source.model.path} hears '{own}', "
                "so it is not written."
            )
    return Checked(len(clips), sum(len(text.split()) for text in expected))


def expected_texts(source: Source, clips: Sequence[Utterance]) -> list[str]:
    """What the result's own model hears."""
    session = create_session(source.model.path)
    return [each.text for each in transcribe(source.model, session, clips)]


def run_script(script: Path, *arguments: str | Path) -> str:
    """Runs a program of a package in a process that finds nothing of this installation by path.

    Returns:
        What it printed.

    Raises:
        ConfpressError: it ended with an error.
    """
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=script.parent,
        env=_plain_environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ConfpressError(f"the package's {script.name} fails: {lines[-1]}")
    return done.stdout


def _plain_environment() -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"PYTHONIOENCODING": "utf-8"}
