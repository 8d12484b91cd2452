"""The base of everything that is measured and written as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..passes.errors import ConfpressError


class Record(BaseModel):
    """A result: fixed keys, nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Kind = TypeVar("Kind", bound=Record)


def read_record(kind: type[Kind], path: Path, what: str) -> Kind:
    """Reads a result that was written as JSON.

    Args:
        kind: Which result.
        path: The file.
        what: What it is called, for the sentence.

    Raises:
        ConfpressError: the file cannot be read, or holds something else.
    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfpressError(f"cannot read {path}: {error.strerror}.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise ConfpressError(f"{path} is no {what}.") from error
