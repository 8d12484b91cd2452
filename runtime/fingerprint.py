"""Hashes that stand for what a result depends on: its inputs, the program and its libraries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ..passes.errors import ConfpressError
from .environment import library_versions
from .kernels import library_path
from .model_file import model_files, sha256


def digest(*parts: object) -> str:
    """A hash of values by what `repr` says of them, in hexadecimal.

    Args:
        parts: Plain data, frozen dataclasses and records, which print all that they hold.
    """
    text = json.dumps([repr(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()


def model_digest(path: Path | str) -> str:
    """A hash of what a model file and its external data hold.

    Raises:
        ConfpressError: the model cannot be read.
    """
    return digest(*(sha256(part) for part in model_files(path)))


@lru_cache(maxsize=1)
def program_digest() -> str:
    """A hash of what computes results: libraries' versions, our sources, the kernel library."""
    try:
        kernels = sha256(library_path())
    except ConfpressError:  # not built here: function bodies run
        kernels = ""
    sources = [sha256(path) for path in sorted(_sources())]
    return digest(library_versions(), kernels, sources)


def _sources() -> Iterator[Path]:
    """Our modules that compute."""
    root = Path(__file__).parents[1]
    for package in ("passes", "runtime", "optimizer"):
        yield from (root / package).rglob("*.py")
