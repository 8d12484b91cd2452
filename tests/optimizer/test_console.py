from __future__ import annotations

import os
from pathlib import Path

import pytest
from confpress.optimizer.console import check_output_file, write_json
from confpress.passes.errors import ConfpressError


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfpressError, match="is a device or a pipe"):
        check_output_file(pipe)
    reader, writer = os.pipe()
    with pytest.raises(ConfpressError, match="is a device or a pipe"):
        check_output_file(Path(f"/dev/fd/{writer}"))
    os.close(reader)
    os.close(writer)
    with pytest.raises(ConfpressError, match="is a device or a pipe"):
        check_output_file(Path(os.devnull))


def test_a_link_leads_to_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to("there/found.json")
    check_output_file(link)
    write_json(link, [1])
    assert link.is_symlink()
    assert (tmp_path / "there" / "found.json").read_text() == "[\n  1\n]\n"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match=r"^cannot write .*gone/x\.json: No such file"):
        write_json(tmp_path / "gone" / "x.json", [1])
