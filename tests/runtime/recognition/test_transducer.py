"""Transducers of three files: found, searched greedily, refused where something is not theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.recognition.asr import AsrModel, transcribe
from confpress.runtime.recognition.transducer import find_parts
from confpress.runtime.session import create_session
from confpress.runtime.speech import load_utterances, read_audio
from confpress.runtime.validation.validate import validate

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from tests.runtime.transducers import (  # noqa: E402
    FAMILIES,
    PIECES,
    WIDTH,
    Family,
    Transducer,
    write_transducer,
)

Written = tuple[Path, Transducer]


@pytest.fixture(scope="module", params=FAMILIES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    family: Family = request.param
    folder = tmp_path_factory.mktemp(family)
    return folder, write_transducer(folder, family)


def test_it_hears_what_the_search_in_torch_does(written: Written, speech_folder: Path) -> None:
    folder, made = written
    model = AsrModel.load(folder)
    assert model.path == folder / "encoder.onnx"
    assert model.interface.scores_turned is (made.family == "nemo")
    assert model.interface.vocabulary == WIDTH
    session = create_session(model.path)
    utterances = load_utterances(speech_folder)
    heard = transcribe(model, session, utterances)
    for utterance, transcript in zip(utterances, heard, strict=True):
        features = model.frontend.features(read_audio(utterance.path, 16000))
        assert list(transcript.tokens) == made.tokens(torch.from_numpy(features))
        assert len(transcript.tokens) > 0
    assert len({transcript.text for transcript in heard}) == 3
    assert transcribe(model, session, utterances, batch_size=3) == heard


def test_validate_compares_encoders_by_frames_and_transducers_by_words(
    written: Written, speech_folder: Path
) -> None:
    model = AsrModel.load(written[0])
    found = validate(model, model, load_utterances(speech_folder), seconds=(0.5,))
    first = found.outputs[0]
    assert first.max_abs == 0
    assert first.argmax_agreement is None
    assert found.speech is not None
    assert found.speech.changed == 0


def test_parts_are_found_by_the_names_that_exporters_give(tmp_path: Path) -> None:
    for folder, names in (
        ("plain", ("encoder.onnx", "decoder.onnx", "joiner.onnx")),
        ("icefall", tuple(f"{p}-epoch-30-avg-9.onnx" for p in ("encoder", "decoder", "joiner"))),
        ("stem", ("tiny-encoder.onnx", "tiny-decoder.onnx", "tiny-joint.onnx")),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
            (tmp_path / folder / name.replace(".onnx", ".int8.onnx")).touch()
        assert tuple(p.name for p in find_parts(tmp_path / folder).values()) == names
    (tmp_path / "icefall" / "encoder-epoch-20-avg-9.onnx").touch()
    with pytest.raises(ConfpressError, match="several files that could be the encoder"):
        find_parts(tmp_path / "icefall")
    (tmp_path / "plain" / "joiner.onnx").unlink()
    with pytest.raises(ConfpressError, match=r"no joiner: looked for joiner\.onnx, .* joint\.onnx"):
        find_parts(tmp_path / "plain")
    (tmp_path / "plain" / "decoder.onnx").rename(tmp_path / "plain" / "decoder_joint-model.onnx")
    with pytest.raises(ConfpressError, match=r"no decoder: .*decoder_joint-model\.onnx holds two"):
        find_parts(tmp_path / "plain")


def test_what_is_no_decoder_or_joiner_is_refused(written: Written, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(written[0], tmp_path / "copy"))
    (folder / "tokens.txt").write_text("a 0\nb 1\n<blk> 2\n", encoding="utf-8")
    with pytest.raises(ConfpressError, match=r"joiner\.onnx gives 7 scores a frame, .* 3 with"):
        AsrModel.load(folder)
    shutil.copyfile(written[0] / "tokens.txt", folder / "tokens.txt")
    shutil.copyfile(folder / "joiner.onnx", folder / "decoder.onnx")
    with pytest.raises(ConfpressError, match=r"copy: the decoder takes .* should take tokens"):
        AsrModel.load(folder)
    shutil.copyfile(folder / "tokens.txt", folder / "joiner.onnx")
    with pytest.raises(ConfpressError, match=r"joiner\.onnx is not an ONNX model"):
        AsrModel.load(folder)
    shutil.copyfile(written[0] / "joiner.onnx", folder / "joiner.onnx")
    shutil.copyfile(written[0] / "decoder.onnx", folder / "decoder.onnx")
    model = AsrModel.load(folder)
    with pytest.raises(ConfpressError, match="the joiner fails"):
        model.decode(np.zeros((3, WIDTH + 1), np.float32))


def test_tokens_stay_within_the_vocabulary(written: Written) -> None:
    model = AsrModel.load(written[0])
    frames = np.random.default_rng(0).standard_normal((40, WIDTH)).astype(np.float32)
    ids, text = model.decode(3 * frames)
    assert ids
    assert model.tokens is not None
    assert model.tokens.blank not in ids
    assert set(text) <= set("".join(PIECES).replace("▁", " "))
