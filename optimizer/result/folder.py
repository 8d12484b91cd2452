"""The result folder: written whole or not at all.

A run works in one hidden folder beside the destination, ``.OUT.work``:

    lock      held by the process that works there (`lock.py`)
    steps/    what is finished already (`steps.py`): the next run goes on from there
    result/   the folder being written, which takes OUT's place at the end
    old/      the earlier OUT, for the moment between two renames

The folder is removed with the result's completion. A run that was killed or failed leaves it
where steps were finished; the next start deletes the rest, or, where the kill fell between the
two renames, puts the old result back.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...passes.errors import ConfpressError
from .lock import locked_folder
from .manifest import MANIFEST, read_manifest

_STEPS, _RESULT, _OLD = "steps", "result", "old"
#: Of Linux' renameat2: paths relative to the current folder, and that both are exchanged.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def result_folder(destination: Path, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """An empty folder that becomes `destination` when the block ends without an error.

    Args:
        destination: Where the result shall stand; an earlier result there is replaced.
        inputs: What the run reads; none of it may lie in `destination`.

    Yields:
        The folder to write into, which must hold a manifest in the end.

    Raises:
        ConfpressError: the destination cannot be, or must not be, written, or another process
            is writing it.
    """
    destination = Path(os.path.realpath(destination))
    check_destination(destination, inputs)
    created = _make_parents(destination.parent)
    work = work_folder(destination)
    try:
        with locked_folder(work, str(destination)):
            _recover(work, destination)
            staging = work / _RESULT
            try:
                staging.mkdir()
                yield staging
                _sync(staging)
                _replace(staging, destination)
                shutil.rmtree(work, ignore_errors=True)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                if not (work / _STEPS).exists():
                    shutil.rmtree(work, ignore_errors=True)
                raise
    except BaseException:
        for parent in created:
            # Only what this run made, and only while nobody else uses it.
            if not any(parent.iterdir()):
                parent.rmdir()
        raise


def work_folder(destination: Path) -> Path:
    """Where a run that writes `destination` works."""
    return destination.with_name(f".{destination.name}.work")


def steps_folder(staging: Path) -> Path:
    """Where the run that writes `staging` keeps what a later run can go on from."""
    return staging.with_name(_STEPS)


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


def _recover(work: Path, destination: Path) -> None:
    """Cleans up after a killed run, and puts back a result that it left renamed aside."""
    if (work / _OLD).is_dir() and not os.path.lexists(destination):
        (work / _OLD).rename(destination)
    for leftover in (_OLD, _RESULT):
        shutil.rmtree(work / leftover, ignore_errors=True)


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
    if not destination.is_dir():
        staging.rename(destination)
    elif not _exchange(staging, destination):
        aside = staging.with_name(_OLD)
        destination.rename(aside)
        try:
            staging.rename(destination)
        except BaseException:
            aside.rename(destination)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Lets two folders change places in one step; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    done: int = rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE)
    return done == 0


def _sync(folder: Path) -> None:
    """Hands the files to the disk, so that a power cut after the rename finds them whole."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
