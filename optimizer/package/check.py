"""A package is checked by unpacking it elsewhere and running it there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnxruntime as ort

from ...passes.errors import ConfpressError
from ...runtime.recognition.asr import AsrModel, transcribe
from ...runtime.session import create_session
from ...runtime.speech.manifest import Utterance
from .archive import unpack
from .clips import write_clips
from .source import Source


@dataclass(frozen=True)
class Checked:
    """What a package was checked with.

    Attributes:
        words: Words that the result's own model hears in the clips.
        sentence: What was found, for people.
    """

    words: int
    sentence: str


class Checks(Protocol):
    """How a kind of package is checked."""

    def check(self, folder: Path, source: Source, clips: Sequence[Utterance]) -> Checked:
        """Runs an unpacked package as its user would, and compares what it gives.

        Raises:
            ConfpressError: it does not run, or gives something else.
        """


def check_elsewhere(archive: Path, source: Source, kind: Checks) -> Checked:
    """Unpacks a package into a folder of its own and checks it there.

    Raises:
        ConfpressError: it does not run there, or gives something else than the result.
    """
    with tempfile.TemporaryDirectory(prefix="confpress-") as name:
        folder = Path(name) / "elsewhere ü"
        unpack(archive, folder)
        clips = write_clips(Path(name), source.model.frontend.sample_rate)
        return kind.check(folder, source, clips)


def same_texts(
    source: Source,
    clips: Sequence[Utterance],
    heard: Sequence[str],
    session: ort.InferenceSession | None = None,
) -> Checked:
    """Compares what a package hears with what the result's own model does.

    Args:
        source: The result.
        clips: What was heard.
        heard: The package's texts.
        session: A session of the result's model; None is one as `confpress transcribe` makes it.

    Raises:
        ConfpressError: one text differs.
    """
    expected = own_texts(source.model, clips, session)
    for clip, text, own in zip(clips, heard, expected, strict=True):
        if text != own:
            raise ConfpressError(
                f"the package hears '{text}' in {clip.id}, but {source.model.path} hears '{own}', "
                "so it is not written."
            )
    words = sum(len(text.split()) for text in expected)
    return Checked(
        words,
        f"Unpacked elsewhere, it hears the same {words} words in {len(clips)} recordings as "
        f"{source.model.path}.",
    )


def own_texts(
    model: AsrModel, clips: Sequence[Utterance], session: ort.InferenceSession | None = None
) -> list[str]:
    """What a model hears by `confpress transcribe`."""
    session = create_session(model.path) if session is None else session
    return [each.text for each in transcribe(model, session, clips)]


def transcripts(script: Path, clips: Sequence[Utterance]) -> list[str]:
    """What a package's `transcribe.py` prints: a line for each clip, the text behind a tab.

    Raises:
        ConfpressError: it ends with an error.
    """
    lines = run_script(script, *(clip.path for clip in clips)).splitlines()
    return [line.partition("\t")[2] for line in lines]


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
