"""TOML files that are checked by a pydantic model, with errors a person can act on."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ...passes.errors import ConfpressError
from .errors import explain

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Reads a file.

    Returns:
        What it says, and its text, in which errors find their line.

    Raises:
        ConfpressError: it cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfpressError(f"cannot read the recipe {path}: {error}.") from error
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        raise ConfpressError(f"{path} is not TOML: {error}.") from error


def check(model: type[M], data: Mapping[str, Any], *, source: str, text: str = "") -> M:
    """Checks plain data, strictly: no text is taken for a number.

    Args:
        model: What the data must be.
        data: Sections and keys, as TOML gives them.
        source: What the data came from, for the error.
        text: The TOML text, to find the line of an error.

    Raises:
        ConfpressError: a section, key or value is not allowed; the sentence names the line, the
            key and what is allowed.
    """
    try:
        # By way of JSON, whose strict mode takes arrays for tuples and nothing else for anything.
        return model.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise ConfpressError(explain(error, model, source, text)) from error
