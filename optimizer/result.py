"""The result folder: written whole or not at all.

Everything is first written beside the destination, as ``.OUT.partial-<pid>``. At the end the
old result is renamed to ``.OUT.old-<pid>``, the new one renamed to its place, and the old one
deleted. A run that was killed leaves at most such hidden folders; the next start deletes them,
or, where the kill fell between the two renames, puts the old result back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..passes.errors import ConfpressError
from .manifest import MANIFEST, read_manifest


@contextmanager
def result_folder(destination: Path, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """An empty folder that becomes `destination` when the block ends without an error.

    Args:
        destination: Where the result shall stand; an earlier result there is replaced.
        inputs: What the run reads; none of it may lie in `destination`.

    Yields:
        The folder to write into, which must hold a manifest in the end.

    Raises:
        ConfpressError: the destination cannot be, or must not be, written.
    """
    destination = Path(os.path.realpath(destination))
    recover(destination)
    check_destination(destination, inputs)
    created = _make_parents(destination.parent)
    staging = _beside(destination, "partial", os.getpid())
    try:
        try:
            staging.mkdir()
        except OSError as error:
            raise ConfpressError(
                f"cannot write in {destination.parent}: {error.strerror}."
            ) from error
        try:
            yield staging
            _sync(staging)
            _replace(staging, destination)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    except BaseException:
        for parent in created:
            # Only what this run made, and only while nobody else uses it.
            if not any(parent.iterdir()):
                parent.rmdir()
        raise


def check_destination(destination: Path, inputs: Sequence[Path] = ()) -> None:
    """Refuses a destination whose replacement would lose something.

    Raises:
        ConfpressError: it is a file, a mount point, a folder that no run of ours wrote, holds
            files that the manifest does not list, or holds an input.
    """
    for path in inputs:
        real = Path(os.path.realpath(path))
        if real == destination or destination in real.parents:
            raise ConfpressError(
                f"the result {destination} would replace the input {path}; choose another folder."
            )
    if destination in (Path.cwd(), *Path.cwd().parents):
        raise ConfpressError(f"{destination} is the current folder; give one inside it.")
    if destination.is_dir():
        _check_folder(destination)
    elif os.path.lexists(destination):
        raise ConfpressError(f"{destination} is a file, but the result is a folder.")
    for parent in destination.parents:
        if parent.is_dir():
            break
        if os.path.lexists(parent):
            raise ConfpressError(f"{parent} is a file, so no folder can be made in it.")


def _check_folder(folder: Path) -> None:
    if folder.is_mount():
        raise ConfpressError(
            f"{folder} is a mount point and cannot be replaced as a whole; give a folder inside it."
        )
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if not any(folder.iterdir()):
        return
    manifest = read_manifest(folder)
    if manifest is None:
        raise ConfpressError(
            f"{folder} exists and is not a result of Confpress (no {MANIFEST} of ours); "
            "it is left as it is."
        )
    strange = sorted(found - set(manifest.files) - {MANIFEST})
    if strange:
        raise ConfpressError(
            f"{folder} holds {strange[0]}, which its {MANIFEST} does not list; "
            "move it away or choose another folder."
        )


def recover(destination: Path) -> None:
    """Cleans up after killed runs, and puts back a result that a kill left renamed aside."""
    for leftover in _leftovers(destination, "old"):
        if not os.path.lexists(destination):
            leftover.rename(destination)
        else:
            shutil.rmtree(leftover, ignore_errors=True)
    for leftover in _leftovers(destination, "partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def _leftovers(destination: Path, kind: str) -> list[Path]:
    """Folders beside the destination whose process is gone."""
    prefix = f".{destination.name}.{kind}-"
    if not destination.parent.is_dir():
        return []
    found = []
    for path in sorted(destination.parent.iterdir()):
        pid = path.name.removeprefix(prefix)
        if path.name.startswith(prefix) and pid.isdigit() and not _runs(int(pid)):
            found.append(path)
    return found


def _runs(pid: int) -> bool:
    """Whether another process has this number."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _beside(destination: Path, kind: str, pid: int) -> Path:
    return destination.with_name(f".{destination.name}.{kind}-{pid}")


def _make_parents(folder: Path) -> list[Path]:
    """Creates a folder; returns what had to be made, deepest first."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    made: list[Path] = []
    for path in reversed(missing):
        try:
            path.mkdir()
        except OSError as error:
            for done in made:
                done.rmdir()
            raise ConfpressError(f"cannot make the folder {path}: {error.strerror}.") from error
        made.insert(0, path)
    return made


def _replace(staging: Path, destination: Path) -> None:
    aside = _beside(destination, "old", os.getpid())
    if destination.is_dir():
        destination.rename(aside)
    try:
        staging.rename(destination)
    except BaseException:
        if aside.is_dir():
            aside.rename(destination)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Hands the files to the disk, so that a power cut after the rename finds them whole."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
