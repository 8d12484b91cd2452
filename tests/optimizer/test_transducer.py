"""Transducers through the commands: only the encoder changes, and whole words are compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from confpress.optimizer.api import optimize
from confpress.optimizer.recipe.recipe import load_recipe
from confpress.optimizer.result.manifest import verify
from confpress.runtime.recognition.asr import AsrModel, transcribe
from confpress.runtime.session import create_session
from confpress.runtime.speech import load_utterances

from tests.optimizer.conftest import Confpress

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from tests.runtime.transducers import FAMILIES, Family, write_transducer  # noqa: E402

PARTS = {"encoder.onnx", "decoder.onnx", "joiner.onnx", "tokens.txt", "frontend.json"}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family: Family = request.param
    path = tmp_path_factory.mktemp(family)
    write_transducer(path, family)
    return path


def test_float32_stages_hear_the_same(
    folder: Path, speech_folder: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(fast_recipe, "lossless").replace({"bench": {"enabled": False}})
    result = optimize(folder, recipe, output=tmp_path / "out", validation=speech_folder)
    for target in ("portable", "cpu"):
        place = result.model(target)
        assert {path.name for path in place.iterdir()} == PARTS
        for part in ("decoder.onnx", "joiner.onnx"):
            assert (place / part).read_bytes() == (folder / part).read_bytes()
        speech = result.report.validation[target].speech
        assert speech is not None
        assert speech.words is not None
        assert (speech.changed, speech.disagreement.errors) == (0, 0)
    assert result.report.models[0].path == str(folder / "encoder.onnx")
    assert {s.name for s in result.report.stages if s.proof} >= {"merge_linears", "pointwise"}
    verify(tmp_path / "out")


@pytest.mark.parametrize("folder", ["nemo"], indirect=True)
def test_int8_runs_through_every_command(
    folder: Path,
    speech_folder: Path,
    other_speech: Path,
    fast_recipe: Path,
    tmp_path: Path,
    confpress: Confpress,
) -> None:
    out = tmp_path / "out"
    options = ("--calibration", speech_folder, "--recipe", fast_recipe, "--json", tmp_path / "r")
    done = confpress("optimize", folder, "-o", out, *options)
    assert (done.status, done.err.count("Error")) == (0, 0)
    words = confpress("validate", folder, out / "cpu", "--data", other_speech)
    assert words.status == 0
    assert "B against A's words" in words.out
    heard = confpress("transcribe", out / "portable", speech_folder / "0.flac")
    assert heard.status == 0
    model = AsrModel.load(out / "portable")
    utterances = load_utterances(speech_folder)
    texts = [t.text for t in transcribe(model, create_session(model.path), utterances)]
    assert texts[0].split()[0] in heard.out
    measured = confpress("bench", folder, out / "portable", "--rounds", 3, "--seconds", 0.5)
    assert measured.status == 0
    assert "encoder.onnx" in measured.out


def test_a_folder_without_parts_is_refused(tmp_path: Path, confpress: Confpress) -> None:
    done = confpress("optimize", tmp_path, "-o", tmp_path / "out")
    assert done.status == 1
    assert "no encoder: looked for encoder.onnx, encoder-*.onnx, *-encoder.onnx" in done.err
