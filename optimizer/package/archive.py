"""Archives that are equal bit for bit where their files are, and are unpacked with suspicion.

A plain tar, not compressed: the bytes of compressors differ between versions, and the weights of
int8 models hardly shrink.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from ...passes.errors import ConfpressError
from ...runtime.on_device.integrity import MANIFEST, verified_manifest
from ..result.folder import result_folder

_MODE = 0o644


def write_archive(folder: Path, path: Path) -> None:
    """Writes every file of a folder, which becomes the archive's only top folder.

    Order, times, owners and modes are the same on every machine.

    Raises:
        OSError: the archive cannot be written.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            member = tarfile.TarInfo((folder.name / file.relative_to(folder)).as_posix())
            member.size, member.mode = file.stat().st_size, _MODE
            with file.open("rb") as content:
                archive.addfile(member, content)


def unpack(archive: Path, destination: Path) -> dict[str, Any]:
    """Unpacks a package and verifies it; the folder appears whole or not at all.

    Args:
        archive: What `write_archive` wrote.
        destination: The folder to make, which gets the files without the archive's top folder.

    Returns:
        The package's manifest.

    Raises:
        ConfpressError: it is no package, holds anything but files within one folder, a file that
            its manifest does not list or whose SHA-256 differs, or `destination` exists.
    """
    refuse_existing(destination)
    with result_folder(destination, [archive]) as folder:
        try:
            with tarfile.open(archive, "r:") as opened:
                names = [_extract(opened, member, folder, archive) for member in opened]
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise ConfpressError(f"{archive} is not a package: {error}.") from error
        except OSError as error:
            raise ConfpressError(f"cannot unpack {archive}: {error.strerror or error}.") from error
        manifest = verified_manifest(folder)
        strange = sorted(set(names) - {*manifest["files"], MANIFEST})
        if strange:
            raise ConfpressError(f"{archive} holds {strange[0]}, which its {MANIFEST} lacks.")
    return manifest


def refuse_existing(destination: Path) -> None:
    """Packages replace nothing.

    Raises:
        ConfpressError: something is there that is not an empty folder.
    """
    if destination.is_dir() and not any(destination.iterdir()):
        return
    if destination.exists() or destination.is_symlink():
        raise ConfpressError(f"{destination} exists already; delete it or choose another name.")


def _extract(opened: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path) -> str:
    """Writes one member below `folder`; its path there."""
    parts = PurePosixPath(member.name).parts
    # Anything but a plain file could leave the folder (links) or be larger than the archive.
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ConfpressError(f"{archive} holds {member.name}, which is not a plain file.")
    if member.name.startswith("/") or ".." in parts or "\\" in member.name or len(parts) < 2:
        raise ConfpressError(f"{archive} holds {member.name}, which would leave the folder.")
    name = PurePosixPath(*parts[1:]).as_posix()
    path = folder / name
    if path.exists():
        raise ConfpressError(f"{archive} holds {member.name} twice.")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = opened.extractfile(member)
    assert content is not None, "a plain file has content"
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)
    return name
