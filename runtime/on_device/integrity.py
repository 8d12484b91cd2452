"""Whether the files of a package are those that its manifest lists."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ...passes.errors import ConfpressError

MANIFEST = "manifest.json"
_BLOCK_BYTES = 2**20


def verified_manifest(folder: Path) -> dict[str, Any]:
    """Compares every file with its SHA-256; to be called before anything of it is loaded.

    Args:
        folder: An unpacked package.

    Returns:
        The manifest.

    Raises:
        ConfpressError: there is no manifest, or a listed file is missing, changed, or not within
            the folder.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        listed = {name: str(entry["sha256"]) for name, entry in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfpressError(f"{path} is missing or not the manifest of a package.") from error
    for name, expected in listed.items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()):
            raise ConfpressError(f"{path} lists {name}, which lies outside the package.")
        if not file.is_file():
            raise ConfpressError(f"{file} is listed in {MANIFEST}, but is not there.")
        if _sha256(file) != expected:
            raise ConfpressError(f"{file} is not what {MANIFEST} says: its SHA-256 differs.")
    return manifest


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
