"""Formats as a stage of the pipeline: chosen, repaired, lowered, audited."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from confpress import optimize
from confpress.optimizer.recipe.recipe import Recipe, load_recipe
from confpress.optimizer.result.decisions import Decisions
from confpress.passes.errors import ConfpressError
from confpress.runtime.fingerprint import model_digest
from confpress.runtime.speech.content import audio_digest

from ..conftest import Confpress


@pytest.fixture
def recipe(fast_recipe: Path) -> Recipe:
    changes = {"bench": {"enabled": False}, "quantize": {"convolution": "float32"}}
    return load_recipe(fast_recipe).replace(changes)


def test_formats_are_chosen_repaired_and_run_as_planned(
    tiny_ctc: Path, speech_folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    wanted = recipe.replace({"formats": {"choice": "mofq4", "repair": "both"}})
    first = optimize(tiny_ctc, wanted, output=tmp_path / "out", calibration=speech_folder)
    report = first.report
    (stage,) = (stage for stage in report.stages if stage.name == "formats")
    assert stage.status == "done"
    assert any("4 per block of 32, activations int8" in change.what for change in stage.changes)
    assert all("repaired" in change.what for change in stage.changes if "linear:" in change.what)
    runs = {name: {layer.stated for layer in each.layers} for name, each in report.audit.items()}
    assert "storage" in runs["portable"]
    assert "low-bit" in runs["cpu"]
    decisions = first.folder / "decisions.json"
    again = optimize(
        *(tiny_ctc, wanted),
        output=tmp_path / "again",
        calibration=speech_folder,
        decisions=decisions,
    )
    chose = [stage.reason for stage in again.report.stages if stage.name == "choose_formats"]
    assert chose == [f"the formats are those of {decisions}"]
    for name in ("interchange.onnx", "portable/model.onnx", "cpu/model.onnx", "decisions.json"):
        assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes(), name


def test_formats_are_taken_over_with_the_speech_that_chose_them(
    tiny_ctc: Path, speech_folder: Path, other_speech: Path, recipe: Recipe, tmp_path: Path
) -> None:
    wanted = recipe.replace({"formats": {"choice": "mofq4"}})
    audio = [audio_digest(path, 16000) for path in speech_folder.glob("*.flac")]
    path = tmp_path / "decisions.json"

    def refused(match: str, calibration: Path | None, **findings: object) -> None:
        Decisions(model=model_digest(tiny_ctc), findings=findings).write(tmp_path)  # type: ignore[arg-type]
        with pytest.raises(ConfpressError, match=match):
            optimize(
                *(tiny_ctc, wanted),
                output=tmp_path / "out",
                calibration=calibration,
                decisions=path,
            )

    found = {"formats": {"layers": {}}, "calibrated_on": audio}
    refused("holds no formats", speech_folder, calibrated_on=audio)
    refused("give the same --calibration", None, **found)
    refused("chosen on other speech", other_speech, **found)


def test_speech_that_chose_formats_does_not_judge(
    tiny_ctc: Path, speech_folder: Path, other_speech: Path, recipe: Recipe, tmp_path: Path
) -> None:
    wanted = recipe.replace(
        {
            "formats": {"choice": "mixed", "max_wer_increase": 1000.0},
            "lower": {"targets": ["portable"]},
        }
    )
    run = partial(optimize, tiny_ctc, wanted, calibration=speech_folder)
    first = run(output=tmp_path / "out", selection=other_speech)
    (stage,) = (stage for stage in first.report.stages if stage.name == "choose_formats")
    assert "95 % interval" in stage.changes[0].what
    assert first.report.selection is not None
    assert first.report.selection.utterances == len(list(other_speech.glob("*.flac")))
    decisions = first.folder / "decisions.json"
    with pytest.raises(ConfpressError, match="set ranges or formats of the model"):
        run(output=tmp_path / "two", validation=other_speech, decisions=decisions)


def test_a_size_is_kept(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    size = tiny_ctc.stat().st_size - 2500
    done = confpress(
        *("optimize", tiny_ctc, "-o", tmp_path / "out", "--recipe", fast_recipe),
        *("--calibration", speech_folder, "--target", "portable", "--max-size", f"{size / 1e6}"),
    )
    assert done.status == 0, done.err
    assert (tmp_path / "out" / "portable" / "model.onnx").stat().st_size <= size


def test_formats_need_speech(tiny_ctc: Path, recipe: Recipe, tmp_path: Path) -> None:
    wanted = recipe.replace({"formats": {"choice": "mofq4"}})
    with pytest.raises(ConfpressError, match="need calibration speech; give --calibration"):
        optimize(tiny_ctc, wanted, output=tmp_path / "out")


@pytest.mark.parametrize(
    ("formats", "reason"),
    [
        ({"choice": "mixed"}, "needs max_size, max_latency, max_error or max_wer"),
        ({"choice": "mofq4", "plan": "plan.json"}, "plan goes with"),
        ({"repair": "gptq"}, "repair needs a choice"),
    ],
)
def test_options_belong_to_choices(recipe: Recipe, formats: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfpressError, match=reason):
        recipe.replace({"formats": formats})
