from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress import optimize
from confpress.optimizer import stages
from confpress.optimizer.gate import Verdict
from confpress.optimizer.recipe.recipe import Recipe, load_recipe
from confpress.optimizer.report.schema import Report
from confpress.optimizer.result.manifest import verify
from confpress.passes.base import InPlacePass, Journal, PassResult
from confpress.passes.errors import ConfpressError
from confpress.runtime.model_file import file_bytes, sha256
from confpress.runtime.recognition.asr import AsrModel, transcribe
from confpress.runtime.session import SessionOptions, create_session
from confpress.runtime.speech import load_utterances

WRITTEN = {
    "interchange.onnx", "decisions.json", "frontend.json", "tokens.txt", "report.json",
    "report.html", "manifest.json", "portable/model.onnx", "portable/frontend.json",
    "portable/tokens.txt", "cpu/model.onnx", "cpu/frontend.json", "cpu/tokens.txt",
}  # fmt: skip


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_run_writes_models_that_run_alone_and_a_report_that_is_true(
    tiny_ctc: Path, speech_folder: Path, other_speech: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    before = tiny_ctc.read_bytes()
    result = optimize(
        tiny_ctc,
        fast_recipe,
        output=tmp_path / "résultat",
        calibration=speech_folder,
        validation=other_speech,
    )
    out = tmp_path / "résultat"
    assert files(out) == WRITTEN
    assert tiny_ctc.read_bytes() == before
    manifest = verify(out)
    assert manifest.source.sha256 == sha256(tiny_ctc)
    report = Report.model_validate_json((out / "report.json").read_text(encoding="utf-8"))
    assert report == result.report
    assert "partial" not in (out / "report.json").read_text(encoding="utf-8")
    rows = {row.name: row for row in report.summary}
    assert list(rows) == ["original", "portable", "cpu"]
    for name in ("portable", "cpu"):
        assert rows[name].bytes == file_bytes(result.model(name))
        assert rows[name].p50_ms is not None
        assert rows[name].faster is not None
        assert rows[name].wer == report.validation[name].speech.words.candidate.rate
    by_name = {model.name: model for model in report.models}
    for name, path in (("interchange", result.interchange), ("cpu", result.model("cpu"))):
        assert by_name[name].sha256 == sha256(path)
        assert (out / by_name[name].path) == path
    assert [s.name for s in report.stages][:2] == ["simplify", "recognise"]
    assert all(s.proof for s in report.stages if s.lossless and s.changes and s.name != "versions")
    changed = next(s for s in report.stages if s.name == "quantize").changes
    assert any("int8" in change.what for change in changed)
    # Alone in another place, with what lies beside it.
    alone = Path(shutil.copytree(out / "cpu", tmp_path / "device"))
    model = AsrModel.load(alone / "model.onnx")
    session = create_session(model.path, SessionOptions(kernels=False))
    heard = transcribe(model, session, load_utterances(other_speech))
    assert len(heard) == 3


def test_a_second_run_replaces_the_first_and_an_error_keeps_it(
    tiny_ctc: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    recipe = load_recipe(fast_recipe).replace({"bench": {"enabled": False}})
    optimize(tiny_ctc, recipe, output=out)
    optimize(tiny_ctc, recipe, output=out, target="portable")
    assert "cpu/model.onnx" not in files(out)
    first = (out / "manifest.json").read_bytes()
    with pytest.raises(ConfpressError):
        optimize(tiny_ctc, recipe, output=out, calibration=tmp_path / "none")
    assert (out / "manifest.json").read_bytes() == first
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".out")]


def test_without_speech_the_report_says_what_is_missing(
    tiny_ctc: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    result = optimize(tiny_ctc, fast_recipe, output=tmp_path / "out")
    assert any("no speech with texts" in note for note in result.report.notes)
    assert result.report.summary[0].wer is None
    calibrate = next(s for s in result.report.stages if s.name == "calibrate")
    assert calibrate.status == "skipped"
    assert calibrate.reason


def test_lossless_keeps_the_outputs(tiny_ctc: Path, fast_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(fast_recipe, "lossless").replace({"bench": {"enabled": False}})
    result = optimize(tiny_ctc, recipe, output=tmp_path / "out")
    for name in ("interchange", "portable", "cpu"):
        for row in result.report.validation[name].outputs:
            assert row.max_abs <= 1e-5 * row.scale, (name, row)


@dataclasses.dataclass(frozen=True)
class Breaks(InPlacePass):
    """A rewrite with a mistake: every weight is a little larger."""

    factor: float = 1.01

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for name, value in model.graph.initializers.items():
            array = value.const_value.numpy()
            if array.dtype == np.float32:
                value.const_value = ir.tensor(array * np.float32(self.factor), name=name)
                journal.change(name, "spoilt")
        return journal.result(model)


def test_a_lossless_stage_that_changes_outputs_is_named(
    tiny_ctc: Path, fast_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from confpress.optimizer import pipeline

    spoilt = stages.Stage("spoil", "a mistake", lambda recipe, findings: [Breaks()])
    monkeypatch.setattr(pipeline, "LOSSLESS_STAGES", (*stages.LOSSLESS_STAGES, spoilt))
    with pytest.raises(ConfpressError, match=r"the stage spoil changed the outputs by .* allowed"):
        optimize(tiny_ctc, fast_recipe, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_gate_after_each_stage_names_the_one_to_blame(
    tiny_ctc: Path,
    other_speech: Path,
    fast_recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from confpress.optimizer import pipeline

    gate = {"max_wer_increase": 0.0, "gate_each_stage": True}
    recipe = load_recipe(fast_recipe).replace({"bench": {"enabled": False}, "validation": gate})

    def verdict(name: str) -> Verdict:
        report = optimize(tiny_ctc, recipe, output=tmp_path / name, validation=other_speech).report
        assert "gate.quantize" in [stage.name for stage in report.stages]
        assert report.verdict is not None
        return report.verdict

    good = verdict("good")
    assert [(s.target, s.outcome) for s in good.stages] == [("quantize", "pass")]
    assert "first time" not in good.sentence
    spoilt = stages.Stage(
        "sparsify", "a mistake", lambda recipe, findings: [Breaks(-1.0)], lossless=False
    )
    monkeypatch.setattr(pipeline, "sparsify_stage", lambda *_: spoilt)
    bad = verdict("bad")
    assert [s.target for s in bad.stages] == ["sparsify", "quantize"]
    assert bad.outcome != "pass"
    assert "After the stage sparsify the model" in bad.sentence


def test_the_report_states_the_recipe_in_force(
    tiny_ctc: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(fast_recipe).replace({"bench": {"enabled": False}})
    optimize(tiny_ctc, recipe, output=tmp_path / "out", target=("cpu",))
    stated = json.loads((tmp_path / "out" / "report.json").read_text())["recipe"]
    assert stated == recipe.replace({"lower": {"targets": ["cpu"]}}).to_dict()
    assert Recipe.model_validate(stated).lower.targets == ("cpu",)


def test_the_original_may_have_fixed_sizes(make_ctc, fast_recipe: Path, tmp_path: Path) -> None:
    model = make_ctc(frames=70, batch=1)
    report = optimize(model, fast_recipe, output=tmp_path / "out").report
    proof = next(s.proof for s in report.stages if s.proof)
    assert {(case.frames, case.batch) for case in proof.cases} == {(70, 1)}
    assert report.benchmark is not None
    assert [(case.frames, case.batch) for case in report.benchmark.cases] == [(70, 1)]
    assert any("0.7 s of audio in batches of 1" in note for note in report.notes)
