"""One process at a time: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...passes.errors import ConfpressError

_NAME = "lock"


@contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[None]:
    """Makes a folder, if need be, and keeps every other process out of it.

    The lock is the system's own on a file in the folder, so that a killed process leaves none.

    Args:
        folder: The folder; its parent exists. The block may delete it.
        what: What it stands for, for the sentence.

    Raises:
        ConfpressError: another process holds the folder, or it cannot be made.
    """
    try:
        file = _open_locked(folder)
    except BlockingIOError as error:
        raise ConfpressError(
            f"another run is writing {what} now{_holder(folder)}; wait for its end, or choose "
            "another folder."
        ) from error
    except OSError as error:
        raise ConfpressError(f"cannot write in {folder.parent}: {error.strerror}.") from error
    try:
        os.ftruncate(file, 0)
        os.write(file, str(os.getpid()).encode())
        yield
    finally:
        os.close(file)


def _open_locked(folder: Path) -> int:
    """A descriptor of the folder's lock file, locked.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the folder cannot be written.
    """
    while True:
        folder.mkdir(exist_ok=True)
        try:
            file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # its last holder has just deleted the folder
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A holder that finished meanwhile has deleted the file that was opened.
            if _is_file_of(folder / _NAME, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_file_of(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _holder(folder: Path) -> str:
    """Which process holds a folder, in words; nothing where it cannot be told."""
    try:
        return f" (process {int((folder / _NAME).read_text())})"
    except (OSError, ValueError):
        return ""
