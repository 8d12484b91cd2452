from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.files import whole
from confpress.passes.errors import ConfpressError


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_text("before")
    with whole(path) as place:
        place.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("no space")]
)
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "best.pt"
    path.write_text("before")
    with pytest.raises(ConfpressError, match=r"cannot write .*best\.pt: .*space"):
        _fail(path, error)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def _fail(path: Path, error: Exception) -> None:
    with whole(path) as place:
        place.write_text("half")
        raise error
