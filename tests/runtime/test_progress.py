from __future__ import annotations

import pytest
from confpress.runtime.progress import progress


def test_a_terminal_sees_what_is_being_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("Measuring", 4, "runs") as advance:
        advance(1)
        advance(3)
    shown = capsys.readouterr()
    assert "Measuring" in shown.err
    assert shown.out == ""


def test_a_file_gets_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Measuring", None) as advance:
        advance(1)
    assert capsys.readouterr().err == ""
