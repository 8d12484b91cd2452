"""Checkpoints are written whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from ..passes.errors import ConfpressError


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a place beside a file to write it in; it takes the file's place if all goes well.

    Raises:
        ConfpressError: it cannot be written, because the disk is full, say.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    # torch says of a full disk that an enforcement failed.
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfpressError(f"cannot write {path}: {reason}.") from error
    finally:
        partial.unlink(missing_ok=True)
