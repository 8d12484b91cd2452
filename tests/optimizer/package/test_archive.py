from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from confpress.optimizer.package.archive import unpack, write_archive
from confpress.passes.errors import ConfpressError

CONTENT = b"weights"


def manifest(**files: bytes) -> bytes:
    listed = {name: {"sha256": sha256(data).hexdigest()} for name, data in files.items()}
    return json.dumps({"files": listed}).encode()


def entry(name: str, data: bytes = CONTENT, kind: bytes = tarfile.REGTYPE, link: str = ""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    member.size = len(data) if kind == tarfile.REGTYPE else 0
    return member, data


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return path


GOOD = (entry("p/manifest.json", manifest(model=CONTENT)), entry("p/model"))


def test_equal_folders_give_equal_archives_whatever_their_times(tmp_path: Path) -> None:
    archives = []
    for order in (("a", "b/ü"), ("b/ü", "a")):
        folder = tmp_path / order[0].replace("/", "") / "package"
        for name in order:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        (folder / "a").chmod(0o755 if order[0] == "a" else 0o600)
        path = tmp_path / f"{len(archives)}.tar"
        write_archive(folder, path)
        archives.append(path.read_bytes())
    assert archives[0] == archives[1]
    with tarfile.open(tmp_path / "0.tar") as archive:
        assert archive.getnames() == ["package/a", "package/b/ü"]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in archive} == {(0, 0, 0, "", 0o644)}


def test_what_was_packed_is_unpacked(tmp_path: Path) -> None:
    unpack(write_tar(tmp_path / "good.tar", *GOOD), tmp_path / "neu ü")
    assert (tmp_path / "neu ü" / "model").read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.tar", "neu ü"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry("p/../../outside"), "leave the folder"),
        (entry("/tmp/outside"), "leave the folder"),
        (entry("p/..\\outside"), "leave the folder"),
        (entry("outside"), "leave the folder"),
        (entry("p/link", kind=tarfile.SYMTYPE, link="/etc/passwd"), "not a plain file"),
        (entry("p/link", kind=tarfile.LNKTYPE, link="p/model"), "not a plain file"),
        (entry("p/folder", kind=tarfile.DIRTYPE), "not a plain file"),
        (entry("p/device", kind=tarfile.CHRTYPE), "not a plain file"),
        (entry("p/pipe", kind=tarfile.FIFOTYPE), "not a plain file"),
        (entry("p/sparse", kind=tarfile.GNUTYPE_SPARSE), "not a plain file|not a package"),
        (entry("p/model", b"other"), "twice"),
        (entry("p/model/inside"), "not a package|cannot unpack"),
        (entry("p/more"), "which its manifest.json lacks"),
    ],
)
def test_hostile_members_are_refused_and_nothing_is_written(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], reason: str
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = write_tar(inner / "bad.tar", *GOOD, bad)
    with pytest.raises(ConfpressError, match=reason):
        unpack(archive, inner / "out")
    assert [p.name for p in inner.iterdir()] == ["bad.tar"]
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    changed = write_tar(tmp_path / "a.tar", GOOD[0], entry("p/model", b"Weights"))
    with pytest.raises(ConfpressError, match=r"model is not what manifest\.json says"):
        unpack(changed, tmp_path / "out")
    missing = write_tar(tmp_path / "b.tar", GOOD[0])
    with pytest.raises(ConfpressError, match="is not there"):
        unpack(missing, tmp_path / "out")
    without = write_tar(tmp_path / "c.tar", GOOD[1])
    with pytest.raises(ConfpressError, match=r"manifest\.json is missing"):
        unpack(without, tmp_path / "out")
    outside = write_tar(tmp_path / "d.tar", entry("p/manifest.json", manifest(**{"../x": b""})))
    with pytest.raises(ConfpressError, match="outside the package"):
        unpack(outside, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_archive_or_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(ConfpressError, match="is not a package"):
        unpack(tmp_path / "text.tar", tmp_path / "out")
    whole = write_tar(tmp_path / "whole.tar", *GOOD).read_bytes()
    for size in range(0, 2048, 100):
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        with pytest.raises(ConfpressError):
            unpack(tmp_path / "cut.tar", tmp_path / "out")
    with pytest.raises(ConfpressError, match="cannot unpack"):
        unpack(tmp_path / "none.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_exists_is_not_replaced(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "good.tar", *GOOD)
    unpack(archive, tmp_path / "out")
    with pytest.raises(ConfpressError, match="exists already"):
        unpack(archive, tmp_path / "out")
