"""Confpress' own licence, which every copy of its code carries."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from ...passes.errors import ConfpressError

IDENTIFIER = "Apache-2.0"
_NAME = "LICENSE"


def licence_text() -> str:
    """The text, from the installed distribution or from the repository.

    Raises:
        ConfpressError: this installation lacks it.
    """
    try:
        text = metadata.distribution("confpress").read_text(f"licenses/{_NAME}")
    except metadata.PackageNotFoundError:
        text = None
    beside = Path(__file__).resolve().parents[2] / _NAME
    if text is None and beside.is_file():
        text = beside.read_text(encoding="utf-8")
    if text is None:
        raise ConfpressError(f"this installation lacks its {_NAME}; install the package again.")
    return text
