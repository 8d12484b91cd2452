"""Folders of speech: a `manifest.tsv`, or simply audio files."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from ...passes.errors import ConfpressError
from .audio import SUFFIXES, audio_seconds

MANIFEST_NAME = "manifest.tsv"

# Names whose form tells the speaker: AN4 "an251-fash-b", LibriSpeech "1688-142285-0000".
_SPEAKER_PATTERNS = (re.compile(r"(?:an|cen)\d+-([a-z]+\d*)-b"), re.compile(r"(\d+)-\d+-\d+"))


@dataclass(frozen=True)
class Utterance:
    """One recording; `text` and `speaker` are None where unknown."""

    id: str
    path: Path
    seconds: float
    text: str | None = None
    speaker: str | None = None


def load_utterances(path: Path | str, subset: str | None = None) -> list[Utterance]:
    """List the utterances of a folder or of a manifest.

    A manifest is tab-separated; its first line names the columns. `path` (relative to the
    manifest's folder) is required; `id`, `seconds`, `text` and `speaker` are used where present.
    A folder without a manifest gives its audio files in the order of their paths, without text.
    The speaker is the column `speaker`, or else the part of the id that names it in AN4
    (`an251-fash-b`: fash) and LibriSpeech (`1688-142285-0000`: 1688).

    Args:
        path: folder, or manifest file.
        subset: keep only utterances whose relative path contains this text.

    Raises:
        ConfpressError: nothing is there, a line is malformed, or no utterance is left.
    """
    path = Path(path)
    if path.is_file():
        found = _from_manifest(path, subset)
    elif (path / MANIFEST_NAME).is_file():
        found = _from_manifest(path / MANIFEST_NAME, subset)
    elif path.is_dir():
        found = _from_folder(path, subset)
    else:
        raise ConfpressError(f"{path} is neither a folder of speech nor a manifest.")
    if not found:
        matching = f" whose path contains '{subset}'" if subset else ""
        raise ConfpressError(f"{path} has no utterances{matching}.")
    return found


def _from_manifest(manifest: Path, subset: str | None) -> list[Utterance]:
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if "path" not in (rows.fieldnames or ()):
                raise ConfpressError(
                    f"{manifest}: the first line names no column 'path' (tab-separated)."
                )
            return [
                _from_row(row, manifest, rows.line_num)
                for row in rows
                if not subset or subset in (row["path"] or "")
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfpressError(f"cannot read the manifest {manifest}: {error}.") from error


def _from_row(row: dict[str, str | None], manifest: Path, line: int) -> Utterance:
    relative = row["path"]
    if not relative:
        raise ConfpressError(f"{manifest}, line {line}: the path is empty.")
    path = manifest.parent / relative
    name = row.get("id") or path.stem
    seconds = row.get("seconds")
    return Utterance(
        id=name,
        path=path,
        seconds=_seconds(seconds, f"{manifest}, line {line}") if seconds else audio_seconds(path),
        text=(row.get("text") or "").strip() or None,
        speaker=row.get("speaker") or speaker_of(name),
    )


def _seconds(text: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfpressError(f"{where}: seconds is '{text}', not a positive number.")
    return seconds


def _from_folder(folder: Path, subset: str | None) -> list[Utterance]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return [
        Utterance(p.stem, p, audio_seconds(p), speaker=speaker_of(p.stem))
        for p in paths
        if not subset or subset in str(p.relative_to(folder))
    ]


def speaker_of(name: str) -> str | None:
    """The speaker that an AN4 or LibriSpeech id names, or None."""
    for pattern in _SPEAKER_PATTERNS:
        match = pattern.fullmatch(name)
        if match:
            return match.group(1)
    return None
