from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confpress.optimizer.result.decisions import Decisions, read_decisions
from confpress.passes.errors import ConfpressError
from confpress.runtime.speech.content import audio_digest

from ..conftest import Confpress

#: Keys of the report that hold times, or what was measured of the machine's state.
TIMES = {"started", "seconds", "load_average"}
MEASURED = {
    "p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "min_ms", "rtf", "speedup", "faster",
    "warm_up_runs", "samples_ms", "start", "profile",
}  # fmt: skip

#: What was typed, and why the stage that measures was left out.
SAID = {"command", "stages.reason"}

#: Makes the demo's models, without proofs and measurements.
PIPELINE = """
import sys
from pathlib import Path
from confpress.optimizer.demo import CALIBRATION_CLIPS, demo_folder
from confpress.optimizer.job import Inputs, open_job
from confpress.optimizer.pipeline import Pipeline
from confpress.optimizer.recipe.recipe import preset
from confpress.optimizer.recorder import Recorder
from confpress.optimizer.steps import Steps
from confpress.optimizer.words import Words

folder, decisions = Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None
demo = demo_folder()
recipe = preset("default").replace(
    {"calibration": {"subset": CALIBRATION_CLIPS}, "proof": {"enabled": False}}
)
clips = None if decisions else demo / "clips"
inputs = Inputs(demo / "model.onnx", calibration=clips, decisions=decisions)
Pipeline(Words(open_job(inputs, recipe), Steps(folder / "steps", Recorder())), folder).run()
"""


def call(seed: int, *command: object) -> None:
    """Runs Python in a process whose sets and hashes have another order."""
    given = [sys.executable, *(str(c) for c in command)]
    environment = os.environ | {"PYTHONHASHSEED": str(seed)}
    subprocess.run(given, check=True, env=environment)


def optimize(out: Path, seed: int, *options: object) -> None:
    call(seed, "-m", "confpress.optimizer", "optimize", *options, "-o", out)


def differences(a: Any, b: Any, where: str = "") -> Iterator[str]:
    """The keys at which two documents differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            yield from differences(a.get(key), b.get(key), f"{where}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for one, other in zip(a, b, strict=True):
            yield from differences(one, other, where)
    elif a != b:
        yield where.removeprefix(".")


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_same_decisions_make_the_same_models(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    call(1, "-c", PIPELINE, one)
    call(2, "-c", PIPELINE, two)
    # Without the speech that was measured on.
    call(3, "-c", PIPELINE, three, one / "decisions.json")
    findings = load(one / "decisions.json")["findings"]
    assert len(findings["ranges"]) == 3
    assert len(findings["calibrated_on"]) == 8
    names = ("interchange.onnx", "portable/model.onnx", "cpu/model.onnx", "decisions.json")
    for out in (two, three):
        for name in names:
            assert (out / name).read_bytes() == (one / name).read_bytes(), (out, name)


def test_two_results_differ_in_times_and_measurements_alone(
    tiny_ctc: Path, other_speech: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    given = (tiny_ctc, "--recipe", fast_recipe, "--validation", other_speech)
    optimize(one, 1, *given)
    optimize(two, 2, *given, "--decisions", one / "decisions.json")
    manifests = [load(out / "manifest.json") for out in (one, two)]
    for key in differences(*manifests):
        assert key in ("command", "created") or key.startswith("files.report."), key
    reports = [load(out / "report.json") for out in (one, two)]
    for key in differences(*reports):
        assert key in SAID or set(key.split(".")) & (TIMES | MEASURED), key


def test_decisions_hold_for_their_model(tmp_path: Path) -> None:
    Decisions(model="a", findings={"ranges": {"x": {"low": 0, "high": 1}}}).write(tmp_path)
    path = tmp_path / "decisions.json"
    assert read_decisions(path, "a").ranges["x"].high == 1
    with pytest.raises(ConfpressError, match="decided for another model"):
        read_decisions(path, "b")
    path.write_text("{}")
    with pytest.raises(ConfpressError, match=r"is no decisions\.json of a result"):
        read_decisions(path, "a")


def test_speech_that_set_ranges_does_not_judge(
    confpress: Confpress,
    tiny_ctc: Path,
    speech_folder: Path,
    other_speech: Path,
    fast_recipe: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    given = ("optimize", tiny_ctc, "--recipe", fast_recipe, "-o")
    assert confpress(*given, out).status == 0
    decisions = load(out / "decisions.json")
    audio = audio_digest(speech_folder / "1.flac", 16000)
    decisions["findings"]["calibrated_on"] = [audio]
    (out / "decisions.json").write_text(json.dumps(decisions))
    kept = shutil.copy(out / "decisions.json", tmp_path / "kept.json")
    for command in (
        ("validate", tiny_ctc, out / "cpu" / "model.onnx", "--data", speech_folder),
        (*given, tmp_path / "two", "--decisions", kept, "--validation", speech_folder),
    ):
        done = confpress(*command)
        assert done.status == 1
        assert "1.flac set ranges or formats of the model" in done.err
    assert confpress(*command[:-1], other_speech).status == 0


def test_a_missing_file_is_one_sentence(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path
) -> None:
    options = ("--decisions", tmp_path / "none.json")
    done = confpress("optimize", tiny_ctc, "-o", tmp_path / "out", *options)
    assert done.status == 1
    assert "cannot read" in done.err
    assert not (tmp_path / "out").exists()
