"""Training and export, which need torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.session import create_session

from ..conftest import Confpress

TINY = """
[model]
d_model = 16
layers = 1
heads = 2
ff_dim = 16
kernel = 3
subsampling_channels = 4
dropout = 0.0
[training]
frames_per_batch = 600
"""


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Six short recordings with texts, half of them in a folder of their own."""
    folder = tmp_path / "spoken"
    lines = ["path\ttext"]
    random = np.random.default_rng(5)
    for index in range(6):
        part = "train" if index < 3 else "held"
        (folder / part).mkdir(parents=True, exist_ok=True)
        audio = random.standard_normal(9000).astype(np.float32) * 0.1
        soundfile.write(folder / part / f"{index}.flac", audio, 16000)
        lines.append(f"{part}/{index}.flac\tYES NO")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_train_then_export_then_run(confpress: Confpress, spoken: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    config = tmp_path / "tiny.toml"
    config.write_text(TINY)
    work = tmp_path / "work"
    arguments = (
        "train", "--data", spoken, "--subset", "train/", "--validation", spoken,
        "--validation-subset", "held/", "-o", work, "--config", config,
    )  # fmt: skip
    done = confpress(*arguments, "--epochs", 1)
    assert done.status == 0, done.err
    assert "epoch 1:" in done.err
    assert "word error rate" in done.out
    done = confpress(*arguments, "--epochs", 2)
    assert "resumed after epoch 1" in done.err
    assert "epoch 2:" in done.err
    done = confpress("export", work / "best.pt", "-o", tmp_path / "tiny.onnx")
    assert done.status == 0, done.err
    model = AsrModel.load(tmp_path / "tiny.onnx")
    assert model.tokens is not None
    scores = model.scores(create_session(model.path), [np.zeros((80, 50), np.float32)])
    assert scores[0].shape[-1] == len(model.tokens.pieces) + 1


def test_a_run_repeats_with_its_seed(confpress: Confpress, spoken: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    config = tmp_path / "tiny.toml"
    weights = []
    for run, seed in enumerate((3, 3, 4)):
        config.write_text(f"{TINY}seed = {seed}\n")
        work = tmp_path / str(run)
        done = confpress(
            "train", "--data", spoken, "--subset", "train/", "--validation", spoken,
            "--validation-subset", "held/", "-o", work, "--config", config, "--epochs", 1,
        )  # fmt: skip
        assert done.status == 0, done.err
        state = torch.load(work / "last.pt", weights_only=True)["model"]
        weights.append(state["encoder.pre_encode.out.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2], atol=0.01)


def test_a_run_goes_on_with_its_front_end_only(
    confpress: Confpress, spoken: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    config, work = tmp_path / "tiny.toml", tmp_path / "work"
    arguments = (
        "train", "--data", spoken, "--subset", "train/", "--validation", spoken,
        "--validation-subset", "held/", "-o", work, "--config", config,
    )  # fmt: skip
    config.write_text(TINY)
    assert confpress(*arguments, "--epochs", 1).status == 0
    trained = (work / "frontend.json").read_text()
    for other in ("preemphasis = 0.0", "n_mels = 40"):
        config.write_text(f"{TINY}[frontend]\n{other}\n")
        done = confpress(*arguments, "--epochs", 2)
        assert done.status == 1
        assert "another" in done.err
        assert (work / "frontend.json").read_text() == trained


def test_bad_training_input(confpress: Confpress, spoken: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    config = tmp_path / "tiny.toml"
    config.write_text("[model]\nlayer = 1\n")
    arguments = ("train", "--data", spoken, "-o", tmp_path / "work", "--validation", spoken)
    done = confpress(*arguments)
    assert done.status == 1
    assert "both the training and the validation" in done.err
    apart = ("--subset", "train/", "--validation-subset", "held/", "--config", config)
    done = confpress(*arguments, *apart)
    assert done.status == 1
    assert "line 2: unknown key 'model.layer'; did you mean 'layers'?" in done.err
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("stated", ["features = 40", "vocabulary = 50"])
def test_a_model_fits_its_features_and_texts(
    confpress: Confpress, spoken: Path, tmp_path: Path, stated: str
) -> None:
    pytest.importorskip("torch")
    config = tmp_path / "tiny.toml"
    config.write_text(TINY.replace("[model]", f"[model]\n{stated}"))
    done = confpress(
        "train", "--data", spoken, "--subset", "train/", "--validation", spoken,
        "--validation-subset", "held/", "-o", tmp_path / "work", "--config", config,
    )  # fmt: skip
    assert done.status == 1
    assert f"tiny.toml: model.{stated} is not allowed: the front end gives 80 features" in done.err
    assert not (tmp_path / "work").exists()


def test_bad_checkpoints(confpress: Confpress, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for name, said in (("none.pt", "there is no checkpoint"), ("bad.pt", "is not a checkpoint")):
        path = tmp_path / name
        if name == "bad.pt":
            path.write_bytes(b"not a checkpoint")
        done = confpress("export", path, "-o", tmp_path / "m.onnx")
        assert done.status == 1
        assert said in done.err
    assert not (tmp_path / "m.onnx").exists()


def test_without_torch_the_way_to_install_it_is_told(
    confpress: Confpress, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from confpress.optimizer.training import torch_extra

    def missing(name: str, package: str | None = None) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(torch_extra.importlib, "import_module", missing)
    with pytest.raises(Exception, match=r"pip install 'confpress\[train\]'"):
        torch_extra.import_models("export")
