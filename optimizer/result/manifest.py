"""``manifest.json``: which files a result has, their SHA-256, and what made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...passes.errors import ConfpressError
from ...runtime.model_file import sha256

MANIFEST = "manifest.json"


class FileEntry(BaseModel):
    """One file of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(description="SHA-256 of the file's bytes, hexadecimal")
    bytes: int = Field(description="size of the file in bytes")


class Manifest(BaseModel):
    """What a result folder holds; also the mark by which a later run knows it as ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["confpress-result"] = Field(
        default="confpress-result", description="the mark of a result folder"
    )
    schema_version: Literal[1] = Field(default=1, description="version of this format")
    command: tuple[str, ...] = Field(description="the command that wrote the folder")
    created: str = Field(description="when it was written, UTC, ISO 8601")
    versions: Mapping[str, str] = Field(description="versions of Confpress and what it runs on")
    source: FileEntry = Field(description="the model that was optimised")
    files: Mapping[str, FileEntry] = Field(
        description="every file of the folder but this one, by path relative to the folder"
    )


def file_entry(path: Path) -> FileEntry:
    """Size and hash of a file."""
    return FileEntry(sha256=sha256(path), bytes=path.stat().st_size)


def write_manifest(
    folder: Path,
    *,
    command: Sequence[str],
    created: str,
    versions: Mapping[str, str],
    source: FileEntry,
) -> Manifest:
    """Lists every file under a folder in its manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = Manifest(
        command=tuple(command),
        created=created,
        versions=dict(versions),
        source=source,
        files={path.relative_to(folder).as_posix(): file_entry(path) for path in files},
    )
    text = manifest.model_dump_json(indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a result folder, or None where there is none of ours."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        return Manifest.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def verify(folder: Path) -> Manifest:
    """Compares every file with the manifest.

    Raises:
        ConfpressError: there is no manifest, or a listed file is missing or changed.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise ConfpressError(
            f"{folder} is not a result of Confpress: it has no {MANIFEST} of ours."
        )
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ConfpressError(f"{path} is listed in {MANIFEST}, but is not there.")
        if file_entry(path) != entry:
            raise ConfpressError(f"{path} is not what {MANIFEST} says: its SHA-256 differs.")
    return manifest
