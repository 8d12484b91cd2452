from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir
import pytest
from confpress.optimizer import pipeline as pipeline_module
from confpress.optimizer.job import Inputs, open_job
from confpress.optimizer.pipeline import Pipeline
from confpress.optimizer.recipe.recipe import preset
from confpress.optimizer.recorder import Notes, Recorder
from confpress.optimizer.steps import Steps
from confpress.optimizer.words import Words
from confpress.passes.base import PassResult
from confpress.passes.errors import ConfpressError
from confpress.passes.quantize import Range
from confpress.runtime.fingerprint import digest
from confpress.runtime.model_file import load_model
from pydantic import TypeAdapter

RANGES = TypeAdapter(dict[str, Range])
FOUND = {"x": Range(-0.1, 1 / 3)}


def find(steps: Steps, key: str, calls: list[str]) -> dict[str, Range]:
    def make(_: Notes) -> dict[str, Range]:
        calls.append(key)
        return FOUND

    return steps.run(key, "calibrate", "find ranges", RANGES, make)


def test_a_step_is_done_once_and_recorded_every_time(tmp_path: Path) -> None:
    calls: list[str] = []
    for resumed in (False, True):
        steps = Steps(tmp_path / "steps", Recorder(quiet=True))
        assert find(steps, "key", calls) == FOUND
        assert [(s.name, s.resumed) for s in steps.recorder.stages] == [("calibrate", resumed)]
    find(steps, "other key", calls)
    assert calls == ["key", "other key"]


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"record": {}, "value": 1}'])
def test_a_spoilt_record_is_done_again(tmp_path: Path, spoilt: str) -> None:
    calls: list[str] = []
    steps = Steps(tmp_path, Recorder(quiet=True))
    find(steps, "key", calls)
    (tmp_path / "key.json").write_text(spoilt)
    assert find(steps, "key", calls) == FOUND
    assert len(calls) == 2


def test_a_failed_step_leaves_nothing(tmp_path: Path) -> None:
    def make(_: Notes) -> bool:
        raise ConfpressError("no.")

    steps = Steps(tmp_path / "steps", Recorder(quiet=True))
    with pytest.raises(ConfpressError):
        steps.run("key", "a", "b", TypeAdapter(bool), make)
    assert not (tmp_path / "steps").exists()


def test_models_are_given_back_only_if_they_are_whole(tmp_path: Path, tiny_ctc: Path) -> None:
    steps = Steps(tmp_path / "steps", Recorder(quiet=True))
    first = steps.write_model("slot", "one", load_model(tiny_ctc))
    second = steps.write_model("slot", "two", load_model(tiny_ctc))
    assert first == second
    assert steps.read_model("slot", "one", first) is not None
    steps.only_model("slot", "two")
    assert steps.read_model("slot", "one", first) is None
    (kept,) = (tmp_path / "steps").glob("slot-*/model.onnx")
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    assert steps.read_model("slot", "two", second) is None


def test_digests_tell_values_and_their_bounds_apart() -> None:
    assert digest("a", "b") != digest("ab") != digest("a, b")
    assert digest(Range(0, 1)) == digest(Range(0, 1)) != digest(Range(0, 1 + 1e-15))


class StoppedError(Exception):
    pass


class OneStep(Steps):
    """Is interrupted behind every step that it does."""

    def run(self, *arguments, **options):  # type: ignore[no-untyped-def]
        value = super().run(*arguments, **options)
        if not self.recorder.stages[-1].resumed:
            raise StoppedError
        return value


def test_interrupted_behind_every_step_it_repeats_none(
    tiny_ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = pipeline_module.run, Counter[str]()

    def counted(passes: Sequence[object], model: ir.Model) -> PassResult:
        calls[str(passes)] += 1
        return original(passes, model)

    monkeypatch.setattr(pipeline_module, "run", counted)
    recipe = preset("linear").replace({"proof": {"enabled": False}, "lower": {"measure": False}})
    job = open_job(Inputs(tiny_ctc), recipe)

    def attempt(kind: type[Steps], folder: Path) -> None:
        Pipeline(Words(job, kind(folder / "steps", Recorder(quiet=True))), folder).run()

    interruptions = 0
    while True:
        try:
            attempt(OneStep, tmp_path / "one")
            break
        except StoppedError:
            interruptions += 1
    assert interruptions == calls.total() > 8
    assert set(calls.values()) == {1}
    attempt(Steps, tmp_path / "two")
    for name in ("interchange.onnx", "portable/model.onnx", "cpu/model.onnx"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
