from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confpress.optimizer.result import folder
from confpress.optimizer.result.folder import result_folder, steps_folder, work_folder
from confpress.optimizer.result.manifest import file_entry, read_manifest, verify, write_manifest
from confpress.passes.errors import ConfpressError


def fill(folder: Path, text: str) -> None:
    (folder / "cpu").mkdir()
    (folder / "cpu" / "model.onnx").write_text(text)
    source = file_entry(folder / "cpu" / "model.onnx")
    write_manifest(folder, command=["confpress"], created="now", versions={}, source=source)


def fail(out: Path, error: BaseException) -> None:
    with result_folder(out) as staging:
        fill(staging, "unfinished")
        raise error


def content(folder: Path) -> str:
    return (folder / "cpu" / "model.onnx").read_text()


def test_a_result_appears_whole_and_replaces_the_one_before(tmp_path: Path) -> None:
    out = tmp_path / "neu é" / "out"
    for text in ("one", "two"):
        with result_folder(out) as staging:
            fill(staging, text)
            assert not out.exists() or content(out) == "one"
        assert content(out) == text
        assert [p.name for p in out.parent.iterdir()] == ["out"]
    manifest = verify(out)
    assert list(manifest.files) == ["cpu/model.onnx"]


def test_an_error_leaves_nothing_not_even_new_parents(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        fail(tmp_path / "a" / "b" / "out", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_old_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with result_folder(out) as staging:
        fill(staging, "one")
    with pytest.raises(KeyboardInterrupt):
        fail(out, KeyboardInterrupt())
    assert content(out) == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_taken_and_a_strange_one_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with result_folder(out) as staging:
        fill(staging, "one")
    assert content(out) == "one"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("x")
    with pytest.raises(ConfpressError, match="not a result of Confpress"), result_folder(theirs):
        pass
    (theirs / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(ConfpressError, match="not a result of Confpress"), result_folder(theirs):
        pass
    assert sorted(p.name for p in theirs.iterdir()) == ["manifest.json", "thesis.tex"]


def test_a_file_that_the_manifest_does_not_list_is_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with result_folder(out) as staging:
        fill(staging, "one")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfpressError, match=r"holds notes\.txt"), result_folder(out):
        pass
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("where", [".", "model.onnx", "model.onnx/sub"])
def test_the_result_may_not_replace_or_hold_an_input(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    model = folder / "model.onnx"
    model.write_text("weights")
    with pytest.raises(ConfpressError), result_folder(folder / where, inputs=[model]):
        pass
    assert model.read_text() == "weights"
    assert [p.name for p in tmp_path.iterdir()] == ["sub"]


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfpressError, match="current folder"), result_folder(Path()):
        pass


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    if Path("/proc/self").is_dir():
        with pytest.raises(ConfpressError, match="cannot"), result_folder(Path("/proc/out")):
            pass
    if os.geteuid() == 0:
        pytest.skip("root may write in every folder, so permissions cannot be tested")
    tmp_path.chmod(0o500)
    with pytest.raises(ConfpressError, match="Permission denied"), result_folder(tmp_path / "o"):
        pass


def test_a_kill_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with result_folder(out) as staging:
        fill(staging, "one")
    work = work_folder(out)
    (work / "result").mkdir(parents=True)
    out.rename(work / "old")
    with pytest.raises(ValueError, match="later"):
        fail(out, ValueError("later"))
    assert content(out) == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_where_folders_cannot_be_exchanged_they_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    for text in ("one", "two"):
        with result_folder(tmp_path / "out") as staging:
            fill(staging, text)
    assert content(tmp_path / "out") == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_second_process_is_refused_with_a_sentence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(out, 10, 60) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        said = rf"another run is writing .*out now \(process {process.pid}\); wait for its end"
        with pytest.raises(ConfpressError, match=said), result_folder(out):
            pass
        assert (work_folder(out) / "result" / "model.onnx").is_file()
        process.kill()
    with result_folder(out) as staging:
        fill(staging, "one")


def test_steps_outlive_an_error_and_go_with_the_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    steps_folder(work_folder(out) / "result").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        fail(out, KeyboardInterrupt())
    assert sorted(p.name for p in work_folder(out).iterdir()) == ["lock", "steps"]
    with result_folder(out) as staging:
        assert steps_folder(staging).is_dir()
        fill(staging, "one")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


SCRIPT = """
import sys, time
from pathlib import Path
from confpress.optimizer.result.folder import result_folder

with result_folder(Path(sys.argv[1])) as staging:
    (staging / "model.onnx").write_bytes(b"x" * int(sys.argv[2]))
    print("written", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def start(out: Path, size: int, seconds: float, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out), str(size), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def test_interrupt_leaves_nothing_and_kill_is_cleaned_up_at_the_next_start(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number, left in ((signal.SIGINT, 0), (signal.SIGKILL, 1)):
        with start(out, 10, 60) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
            process.send_signal(number)
            process.wait(timeout=20)
        time.sleep(0.05)
        assert len(list(tmp_path.iterdir())) == left
    with result_folder(out) as staging:
        fill(staging, "one")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    with start(tmp_path / "out", 5000, 0, preexec_fn=limit) as process:
        assert process.stderr is not None
        assert "File too large" in process.stderr.read()
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_verify_finds_missing_and_changed_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with result_folder(out) as staging:
        fill(staging, "one")
    assert read_manifest(out) == verify(out)
    (out / "cpu" / "model.onnx").write_text("two")
    with pytest.raises(ConfpressError, match="SHA-256 differs"):
        verify(out)
    (out / "cpu" / "model.onnx").unlink()
    with pytest.raises(ConfpressError, match="not there"):
        verify(out)
    with pytest.raises(ConfpressError, match="not a result"):
        verify(tmp_path)
