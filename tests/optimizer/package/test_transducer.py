"""A transducer in a bundle: three models, searched with numpy and ONNX Runtime alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confpress import optimize
from confpress.optimizer.package.build import KINDS, build
from confpress.optimizer.recipe.recipe import load_recipe
from confpress.passes.errors import ConfpressError
from confpress.runtime.on_device.recogniser import Recogniser
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.session import create_session
from confpress.runtime.speech import read_audio

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from tests.runtime.transducers import FAMILIES, Family, write_transducer  # noqa: E402


@pytest.fixture(scope="module", params=FAMILIES)
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family: Family = request.param
    folder = tmp_path_factory.mktemp(family)
    write_transducer(folder / "model", family)
    recipe = load_recipe(preset_name="linear").replace(
        {"bench": {"enabled": False}, "proof": {"enabled": False}}
    )
    return optimize(folder / "model", recipe, output=folder / "out").folder


def test_a_bundle_hears_what_the_result_does(
    result: Path, tmp_path: Path, speech_folder: Path
) -> None:
    # The build unpacks it elsewhere and compares the texts of `transcribe.py` there.
    built = build(result, KINDS["bundle"], tmp_path / "packed")
    assert built.checked.words > 0
    names = {path.name for path in built.folder.glob("*.onnx")}
    assert names == {"encoder.onnx", "decoder.onnx", "joiner.onnx"}
    manifest = json.loads((built.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"]["file"] == "encoder.onnx"
    assert manifest["model"]["transducer"] == ["decoder.onnx", "joiner.onnx"]
    assert names <= manifest["files"].keys()
    recogniser = Recogniser.open(built.folder)
    model = AsrModel.load(result / "cpu")
    audio = read_audio(speech_folder / "2.flac", 16000)
    scores = model.scores(create_session(model.path), [model.frontend.features(audio)])[0]
    assert recogniser.text(audio) == model.decode(scores)[1]
    (built.folder / "joiner.onnx").write_bytes(b"changed")
    with pytest.raises(ConfpressError, match=r"joiner\.onnx"):
        Recogniser.open(built.folder)


@pytest.mark.parametrize("kind", ["ort", "sherpa-onnx"])
def test_other_packages_refuse_it(result: Path, tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfpressError, match=rf"{kind} holds CTC models only; --for bundle"):
        build(result, KINDS[kind], tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
