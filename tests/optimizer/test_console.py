from __future__ import annotations

import os
from pathlib import Path

import pytest
from confpress.optimizer import console
from confpress.optimizer.console import Column, check_output_file, print_table, write_json
from confpress.passes.errors import ConfpressError
from rich.console import Console


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


def test_a_narrow_terminal_cuts_no_name_and_no_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "output", lambda: Console(width=30))
    columns = [Column("output"), *(Column(f"difference {i}", number=True) for i in range(4))]
    print_table("", columns, [["logprobs of it", *(f"-1234.{i} to +0.{i}" for i in range(4))]])
    said = capsys.readouterr().out
    assert "…" not in said
    assert all(f"-1234.{i} to +0.{i}" in said for i in range(4))
    assert "logprobs" in said
