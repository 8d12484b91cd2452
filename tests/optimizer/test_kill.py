"""Runs that are killed leave a whole result, and the next run goes on from what they finished."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confpress.optimizer.demo import demo_folder
from confpress.optimizer.report.schema import Report
from confpress.optimizer.result.folder import steps_folder, work_folder
from confpress.optimizer.result.manifest import verify

#: Forks a run for each line of input (imports once), which is killed before its n-th change of or
#: look at a file of the result; without n it ends by itself. The answer is its status.
SERVER = """
import json, os, signal, sys
import confpress.optimizer.commands.optimize
import confpress.optimizer.run
from confpress.optimizer.cli import run

FILES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}

def watch(last, place):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event in FILES and place in str(arguments[0]):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    return lambda: count

for line in sys.stdin:
    arguments, last, place = json.loads(line)
    if (child := os.fork()) == 0:
        counted = watch(last, place)
        status = run(arguments)
        print(json.dumps([status, counted()]), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1] == signal.SIGKILL:
        print(json.dumps([-signal.SIGKILL, last]), flush=True)
"""


class Runs:
    """Runs `optimize` with the same inputs, each in a process of its own."""

    def __init__(self, server: subprocess.Popen[str], *arguments: object) -> None:
        self._server = server
        self._arguments = [str(argument) for argument in arguments]

    def __call__(self, out: Path, *options: str, last: int | None = None) -> tuple[int, int]:
        """The exit status, and how often a file of the result was changed or looked at.

        Args:
            out: The result.
            options: More of the command line.
            last: Before which of these the run is killed; None lets it end.
        """
        arguments = ["optimize", *self._arguments, "-o", str(out), *options]
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps([arguments, last, out.name]) + "\n")
        self._server.stdin.flush()
        for line in self._server.stdout:
            if line.startswith("["):
                status, count = json.loads(line)
                return status, count
        raise AssertionError("the process that starts runs has ended")


@contextmanager
def server() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def models(out: Path) -> dict[str, str]:
    """Hashes of a whole result's models and of what it decided."""
    files = verify(out).files
    return {name: entry.sha256 for name, entry in files.items() if not name.startswith("report.")}


def kept(out: Path) -> dict[str, bytes]:
    """What the next run can go on from: records of steps, by file name."""
    steps = steps_folder(work_folder(out) / "result")
    return {path.name: path.read_bytes() for path in sorted(steps.glob("*.json"))}


def test_ten_kills_at_random_moments(
    tiny_ctc: Path, speech_folder: Path, other_speech: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    chance = random.Random(7)
    out, whole = tmp_path / "out", tmp_path / "all"
    speech = ("--calibration", speech_folder, "--validation", other_speech)
    with server() as process:
        runs = Runs(process, tiny_ctc, "--recipe", fast_recipe, *speech)
        assert runs(out, "--target", "portable")[0] == 0
        old = models(out)
        status, length = runs(whole)
        assert status == 0
        new = models(whole)
        before: dict[str, bytes] = {}
        for _ in range(10):
            # Each run goes on from the one before, so that ten parts cover the whole.
            status, _ = runs(out, last=chance.randrange(1, length // 4))
            assert models(out) in (old, new)
            found = kept(out)
            if status == -signal.SIGKILL and found:
                assert before.items() <= found.items()
            before = found
        assert len(before) > 5
        names = {json.loads(text)["record"]["name"] for text in before.values()}
        assert runs(out)[0] == 0
    assert models(out) == new
    report = Report.model_validate_json((out / "report.json").read_text(encoding="utf-8"))
    assert {stage.name for stage in report.stages if stage.resumed} == names
    assert not work_folder(out).exists()


def killed_by_the_clock(command: list[object], folder: Path, times: int) -> None:
    """Kills runs at random moments; what they leave is nothing or whole, and they go on."""
    chance = random.Random(11)
    start = time.monotonic()
    subprocess.run([*map(str, command), folder / "all"], check=True)
    length = time.monotonic() - start
    new = models(folder / "all")
    out, before = folder / "out", dict[str, bytes]()
    for _ in range(times):
        with subprocess.Popen([*map(str, command), out]) as process:
            time.sleep(chance.uniform(0, length / 3))
            process.kill()
        assert not out.exists() or models(out) == new
        found = kept(out)
        if process.returncode == -signal.SIGKILL and found:
            assert before.items() <= found.items()
        before = found
    subprocess.run([*map(str, command), out], check=True)
    assert models(out) == new


#: What is chosen by times may come out differently in every run.
UNTIMED = "[lower]\nmeasure = false\n"


@pytest.mark.evidence
def test_thirty_kills_of_the_demo_by_the_clock(tmp_path: Path) -> None:
    folder, recipe = demo_folder(), tmp_path / "untimed.toml"
    recipe.write_text(UNTIMED)
    command = [
        *(sys.executable, "-m", "confpress.optimizer", "optimize", folder / "model.onnx"),
        *("--calibration", folder / "clips", "--calibration-subset", "calibration-"),
        *("--validation", folder / "clips", "--subset", "clip-", "--recipe", recipe, "-o"),
    ]
    killed_by_the_clock(command, tmp_path, 30)


@pytest.mark.evidence
def test_ten_kills_of_a_real_model_by_the_clock(
    nemo_model: Path, calibration_folder: Path, shared_data: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "short.toml"
    short = "[calibration]\nmax_seconds = 60\n[validation]\nmax_utterances = 5\n"
    recipe.write_text(f"{UNTIMED}{short}[bench]\nrounds = 5\nmemory = false\n")
    command = [
        *(sys.executable, "-m", "confpress.optimizer", "optimize", nemo_model),
        *("--calibration", calibration_folder, "--validation", shared_data / "an4"),
        *("--subset", "an4test_clstk", "--recipe", recipe, "-o"),
    ]
    killed_by_the_clock(command, tmp_path, 10)
