"""Every bad input gets one sentence and a non-zero status, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from confpress.runtime.model_file import load_model, save_model

from .conftest import Confpress


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def refuses(confpress: Confpress, tmp_path: Path) -> Callable[..., str]:
    """Runs a command that must fail; returns the sentence."""

    def call(*arguments: object, status: int = 1) -> str:
        before = tree(tmp_path)
        done = confpress(*arguments)
        assert done.status == status, done.err
        errors = [line for line in done.err.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1
        assert "Traceback" not in done.err
        assert errors[0].endswith((".", "?"))
        assert "fault of Confpress" not in done.err
        assert tree(tmp_path) == before
        return errors[0]

    return call


Refuses = Callable[..., str]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_not_an_onnx_file(refuses: Refuses, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("I am a text.")
    assert "is not an ONNX model" in refuses("optimize", path, "-o", out)
    assert "is not an ONNX model" in refuses("inspect", path)
    assert "is not an ONNX model" in refuses("simplify", path, "-o", tmp_path / "b.onnx")


def test_a_missing_file(refuses: Refuses, tmp_path: Path, out: Path) -> None:
    assert "there is no model file" in refuses("optimize", tmp_path / "none.onnx", "-o", out)


def test_a_truncated_file(refuses: Refuses, tiny_ctc: Path, out: Path) -> None:
    tiny_ctc.write_bytes(tiny_ctc.read_bytes()[:-1000])
    assert "cut off" in refuses("optimize", tiny_ctc, "-o", out)


@pytest.fixture
def external(tiny_ctc: Path, tmp_path: Path) -> Path:
    path = tmp_path / "external" / "model.onnx"
    save_model(load_model(tiny_ctc), path, external_data=True)
    return path


def test_missing_external_data(refuses: Refuses, external: Path, out: Path) -> None:
    external.with_name("model.onnx.data").unlink()
    assert "is missing" in refuses("optimize", external, "-o", out)


def test_external_data_outside_the_folder(refuses: Refuses, external: Path, out: Path) -> None:
    external.with_name("model.onnx.data").rename(external.parent.parent / "secret")
    proto = onnx.load(external, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    external.write_bytes(proto.SerializeToString())
    assert "outside the model's folder" in refuses("optimize", external, "-o", out)


def test_an_unknown_recipe_key(refuses: Refuses, tiny_ctc: Path, tmp_path: Path, out: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[quantize]\nlinaer = 'int8'\n")
    said = refuses("optimize", tiny_ctc, "-o", out, "--recipe", recipe)
    assert "line 2: unknown key 'quantize.linaer'" in said
    assert "linear, convolution, exclude" in said


def test_an_unknown_preset_and_target(refuses: Refuses, tiny_ctc: Path, out: Path) -> None:
    assert "'defualt'; did you mean 'default'?" in refuses(
        "optimize", tiny_ctc, "-o", out, "--preset", "defualt"
    )
    said = refuses("optimize", tiny_ctc, "-o", out, "--target", "gpu")
    assert "'portable', 'cpu' or 'cuda'" in said
    said = refuses("optimize", tiny_ctc, "-o", out, "--target", "")
    assert 'lower.targets = "" is not allowed' in said


def test_unreadable_audio(refuses: Refuses, tiny_ctc: Path, speech_folder: Path, out: Path) -> None:
    (speech_folder / "1.flac").write_bytes(b"fLaC but not really")
    for option in ("--calibration", "--validation"):
        said = refuses("optimize", tiny_ctc, "-o", out, option, speech_folder)
        assert "1.flac is not audio that can be read" in said
    said = refuses("transcribe", tiny_ctc, speech_folder / "1.flac")
    assert "1.flac is not audio that can be read" in said


def test_audio_of_another_rate(refuses: Refuses, tiny_ctc: Path, tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "phone"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(4000, np.float32), 8000)
    assert "8000 samples per second" in refuses(
        "optimize", tiny_ctc, "-o", out, "--validation", folder
    )


def test_an_empty_calibration_folder(
    refuses: Refuses, tiny_ctc: Path, tmp_path: Path, out: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    said = refuses("optimize", tiny_ctc, "-o", out, "--calibration", empty)
    assert "empty has no utterances" in said
    said = refuses("optimize", tiny_ctc, "-o", out, "--calibration", tmp_path / "nowhere")
    assert "neither a folder of speech nor a manifest" in said


def test_a_model_whose_inputs_are_not_features(refuses: Refuses, tmp_path: Path, out: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        tokens (int64[batch, n] ids) => (int64[batch, n] y) { y = Identity (ids) }"""
    )
    path = tmp_path / "bert.onnx"
    onnx.save(model, path)
    said = refuses("optimize", path, "-o", out)
    assert "ids int64 [batch, n]" in said
    assert "features" in said


def test_a_front_end_that_does_not_fit(
    refuses: Refuses, tiny_ctc: Path, tmp_path: Path, out: Path
) -> None:
    other = tmp_path / "frontend.json"
    other.write_text('{"n_mels": 64}')
    said = refuses("optimize", tiny_ctc, "-o", out, "--frontend", other)
    assert "takes 80 features a frame" in said


def test_a_folder_that_is_not_ours(refuses: Refuses, tiny_ctc: Path, out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "not a result of Confpress" in refuses("optimize", tiny_ctc, "-o", out)


def test_an_output_that_would_replace_the_model(
    refuses: Refuses, tiny_ctc: Path, tmp_path: Path
) -> None:
    assert "would replace the input" in refuses("optimize", tiny_ctc, "-o", tiny_ctc)
    assert "would replace the input" in refuses("optimize", tiny_ctc, "-o", tiny_ctc.parent)
    assert "is a file" in refuses("optimize", tiny_ctc, "-o", tiny_ctc / "sub")
    assert "would replace the input" in refuses("simplify", tiny_ctc, "-o", tiny_ctc)
    assert "is a folder" in refuses("simplify", tiny_ctc, "-o", tmp_path)
    assert "there is no folder" in refuses("simplify", tiny_ctc, "-o", tmp_path / "no" / "b.onnx")


def test_json_may_not_replace_an_input_nor_lie_in_the_result(
    refuses: Refuses, tiny_ctc: Path, out: Path
) -> None:
    assert "would replace" in refuses("optimize", tiny_ctc, "-o", out, "--json", tiny_ctc)
    assert "lies in the result" in refuses(
        "optimize", tiny_ctc, "-o", out, "--json", out / "x.json"
    )
    assert "would replace" in refuses("inspect", tiny_ctc, "--json", tiny_ctc)


def test_a_folder_without_permission(refuses: Refuses, tiny_ctc: Path) -> None:
    assert "cannot make the folder" in refuses("optimize", tiny_ctc, "-o", "/proc/none/out")
    assert "cannot write in /proc" in refuses("optimize", tiny_ctc, "-o", "/proc/out")


def test_a_lowered_model(
    refuses: Refuses, confpress: Confpress, tiny_ctc: Path, tmp_path: Path, out: Path
) -> None:
    quantized, lowered = tmp_path / "qdq.onnx", tmp_path / "cpu.onnx"
    assert confpress("quantize", tiny_ctc, "-o", quantized).status == 0
    assert confpress("lower", quantized, "-o", lowered, "--target", "cpu").status == 0
    said = refuses("optimize", lowered, "-o", out)
    assert "lowered already" in said
    assert "cpu.onnx" in said
    assert "lowered already" in refuses("lower", lowered, "-o", tmp_path / "again.onnx")


def test_a_limit_without_texts(
    refuses: Refuses, tiny_ctc: Path, speech_folder: Path, out: Path
) -> None:
    limited = ("optimize", tiny_ctc, "-o", out, "--max-wer-increase", "0.5")
    assert "needs speech with texts" in refuses(*limited)
    (speech_folder / "manifest.tsv").unlink()
    assert "has no texts" in refuses(*limited, "--validation", speech_folder)
    (tiny_ctc.parent / "tokens.txt").unlink()
    assert "needs the vocabulary" in refuses(*limited, "--validation", speech_folder)


def test_calibration_and_validation_are_kept_apart(
    refuses: Refuses, tiny_ctc: Path, speech_folder: Path, out: Path
) -> None:
    said = refuses(
        "optimize", tiny_ctc, "-o", out,
        "--calibration", speech_folder, "--validation", speech_folder,
    )  # fmt: skip
    assert "both the calibration and the validation" in said


def test_wrong_usage_has_its_own_status(confpress: Confpress, tiny_ctc: Path) -> None:
    for arguments in (["optimise"], ["optimize", tiny_ctc], ["bench"], ["inspect", "--nope", "x"]):
        done = confpress(*arguments)
        assert done.status == 2
        assert "Error: " in done.err


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_numbers_that_are_none(refuses: Refuses, tiny_ctc: Path, number: str) -> None:
    said = refuses("inspect", tiny_ctc, "--seconds", number, status=2)
    assert f"{number} is not a finite number" in said
    said = refuses("validate", tiny_ctc, tiny_ctc, "--max-wer-increase", number, status=2)
    assert f"{number} is not a finite number" in said


def test_json_in_the_place_of_what_is_read(
    refuses: Refuses, tiny_ctc: Path, speech_folder: Path
) -> None:
    frontend, tokens = (tiny_ctc.with_name(name) for name in ("frontend.json", "tokens.txt"))
    given = ("--frontend", frontend, "--json", frontend)
    for command in ("bench", "profile", "audit"):
        assert "would replace the input" in refuses(command, tiny_ctc, *given)
    assert "would replace the input" in refuses(
        "transcribe", tiny_ctc, speech_folder, "--tokens", tokens, "--json", tokens
    )


def test_audio_that_no_memory_holds(confpress: Confpress, tiny_ctc: Path) -> None:
    done = confpress("bench", tiny_ctc, "--seconds", "1e300")
    assert done.status == 2
    assert "is not in the range 0<x<=86400" in done.err
