"""Fixtures of all tests: the shared speech and model, and small models and recordings made here."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import onnx
import pytest
import soundfile
from confpress.runtime.speech import FrontEnd, Utterance, load_utterances
from onnx import numpy_helper, parser

ROOT = Path(__file__).resolve().parent.parent
SHARED_VARIABLE = "CONFPRESS_TEST_DATA"

# Pieces of the small models' vocabulary; the blank comes after them.
PIECES = ("▁", "a", "b", "c", "d", "e")

MakeModel = Callable[..., Path]

# A shell ignores SIGINT in what it runs in the background, and so would every process that the
# tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _shared(relative: str) -> Path:
    root = Path(os.environ.get(SHARED_VARIABLE, ROOT.parent / "shared"))
    path = root / relative
    if not path.exists():
        pytest.skip(f"needs {relative} of the shared test data; {SHARED_VARIABLE} names its folder")
    return path


@pytest.fixture(scope="session")
def shared_root() -> Path:
    """Folder of the shared speech and models."""
    return _shared(".")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared speech."""
    return _shared("data")


@pytest.fixture(scope="session")
def nemo_model() -> Path:
    """A real trained Conformer-CTC of 13 million parameters, 16 kHz English."""
    return _shared("models/nemo_conformer_ctc_small/model.onnx")


@pytest.fixture(scope="session")
def an4_test() -> list[Utterance]:
    """AN4's test part: 130 utterances, 773 words, with texts."""
    return load_utterances(_shared("data/an4"), "an4test_clstk")


@pytest.fixture(scope="session")
def test_other() -> list[Utterance]:
    """50 utterances of LibriSpeech test-other, with texts."""
    return load_utterances(_shared("data/librispeech/test_other"))


@pytest.fixture(scope="session")
def calibration_folder() -> Path:
    """126 utterances of 126 speakers, without texts."""
    return _shared("data/librispeech/train_clean_calibration")


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this test, instead of the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def make_ctc(tmp_path: Path) -> MakeModel:
    """Writes small CTC models with a front end and tokens beside them; see `write_ctc`."""

    def make(name: str = "model.onnx", **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ctc(path, **options)  # type: ignore[arg-type]
        return path

    return make


@pytest.fixture
def tiny_ctc(make_ctc: MakeModel) -> Path:
    """A small CTC model: two linear layers on every second frame, with lengths."""
    return make_ctc()


@pytest.fixture
def speech_folder(tmp_path: Path) -> Path:
    """Three recordings of 0.5, 0.8 and 1.1 s (noise of changing loudness) and their manifest."""
    folder = tmp_path / "speech"
    folder.mkdir()
    generator = np.random.default_rng(7)
    lines = ["id\tpath\tseconds\ttext"]
    for index, seconds in enumerate((0.5, 0.8, 1.1)):
        samples = int(16000 * seconds)
        loudness = 0.1 + 0.1 * np.sin(np.linspace(0, 20 * seconds, samples))
        audio = (generator.standard_normal(samples) * loudness).astype(np.float32)
        soundfile.write(folder / f"{index}.flac", np.clip(audio, -1, 1), 16000)
        lines.append(f"utt{index}\t{index}.flac\t{seconds}\tBAD ACE")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_ctc(
    path: Path,
    *,
    seed: int = 0,
    noise: float = 0.0,
    mels: int = 80,
    hidden: int = 16,
    mels_first: bool = True,
    lengths: bool = True,
    batch: int | str = "batch",
    frames: int | str = "time",
    beside: bool = True,
) -> None:
    """Write a CTC model of one hidden layer that reads every second frame.

    Frames do not influence each other, so that batches must not change anything.

    Args:
        path: The file to write.
        seed: Of the weights; equal seeds give equal weights.
        noise: Standard deviation of what is added to the weights afterwards.
        mels: Features a frame.
        hidden: Width of the hidden layer.
        mels_first: Layout [batch, mels, frames], else [batch, frames, mels].
        lengths: Whether there are an input and an output of lengths.
        batch: Batch size, a name where it is dynamic.
        frames: Frames, a name where they are dynamic.
        beside: Whether front end and tokens are written beside the model.
    """
    vocabulary = len(PIECES) + 1
    axes = f"{mels}, {frames}" if mels_first else f"{frames}, {mels}"
    model = parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["" : 17]>
        ctc (float[{batch}, {axes}] features{f", int64[{batch}] length" if lengths else ""})
          => (float[{batch}, steps, {vocabulary}] logprobs
              {f", int64[{batch}] encoded_lengths" if lengths else ""})
        {{
          turned = {"Transpose <perm = [0, 2, 1]>" if mels_first else "Identity"} (features)
          one = Constant <value = int64[1] {{1}}> ()
          two = Constant <value = int64[1] {{2}}> ()
          zero = Constant <value = int64[1] {{0}}> ()
          many = Constant <value = int64[1] {{1000000}}> ()
          halved = Slice (turned, zero, many, one, two)
          first = MatMul (halved, weight1)
          active = Relu (first)
          logits = MatMul (active, weight2)
          logprobs = LogSoftmax <axis = -1> (logits)
          {"longer = Add (length, one)  encoded_lengths = Div (longer, two)" if lengths else ""}
        }}
        """
    )
    generator = np.random.default_rng(seed)
    weights = {
        "weight1": generator.standard_normal((mels, hidden)) / np.sqrt(mels),
        "weight2": generator.standard_normal((hidden, vocabulary)) * 12 / np.sqrt(hidden),
    }
    for name, weight in weights.items():
        changed = weight + noise * generator.standard_normal(weight.shape)
        tensor = numpy_helper.from_array(changed.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    if beside:
        FrontEnd(n_mels=mels).save(path.parent / "frontend.json")
        tokens = "".join(f"{piece} {index}\n" for index, piece in enumerate(PIECES))
        (path.parent / "tokens.txt").write_text(tokens, encoding="utf-8")


# How long an example takes is the machine's affair: a busy one must not fail a test.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
