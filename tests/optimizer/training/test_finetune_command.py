"""``confpress finetune``: checkpoints that become smaller, from the command to the graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import soundfile
from confpress.passes.base import run
from confpress.passes.linear import matmul_layers
from confpress.passes.rewrite import constant
from confpress.passes.rewrites.layers.route_experts import RouteExperts
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.structure import Kind, Recognise, recognise
from confpress.runtime.session import SessionOptions, create_session

from ..conftest import Confpress

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

SHAPE = {"features": 80, "layers": 1, "heads": 2, "ff_dim": 32, "kernel": 3, "d_model": 16}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A seeded model as NeMo stores it, with a tensor of its front end."""
    return _checkpoint(tmp_path)


def _checkpoint(folder: Path, **shape: int) -> Path:
    torch.manual_seed(0)
    model = ConformerCTC(ConformerConfig(vocabulary=6, subsampling_channels=4, **SHAPE | shape))
    path = folder / "small.safetensors"
    tensors = model.state_dict() | {"preprocessor.featurizer.window": torch.ones(400)}
    save_file(tensors, path, {"format": "pt", "origin": "a test"})
    return path


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    folder = tmp_path / "speech"
    folder.mkdir()
    random = np.random.default_rng(5)
    for index in range(21):
        audio = random.standard_normal(9000 + 100 * index).astype(np.float32) * 0.1
        soundfile.write(folder / f"{index:02}.flac", audio, 16000)
    return folder


def test_a_sparse_checkpoint_of_the_same_kind(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    arguments = ("finetune", checkpoint, "--data", speech, "-o", work, "--sparse", "4:16")
    told = tmp_path / "told.json"
    done = confpress(*arguments, "--epochs", 2, "--json", told)
    assert done.status == 0, done.err
    assert "epoch 2:" in done.err
    assert "model.safetensors:" in done.out
    said = json.loads(told.read_text())
    assert said["model"] == str(work / "model.safetensors")
    assert 0.5 < said["zeros"] / said["parameters"] < 0.75
    before, after = load_file(checkpoint), load_file(work / "model.safetensors")
    assert before.keys() == after.keys()
    assert torch.equal(before["preprocessor.featurizer.window"], torch.ones(400))
    with safe_open(work / "model.safetensors", "pt") as file:
        assert file.metadata()["origin"] == "a test"
    weight = after["encoder.layers.0.feed_forward2.linear2.weight"]
    assert weight.reshape(16, 2, 16).count_nonzero(dim=-1).eq(4).all()
    dense = after["encoder.pre_encode.out.weight"]
    assert dense.count_nonzero() == dense.numel()

    model = tmp_path / "sparse.onnx"
    assert confpress("export", work / "model.safetensors", "-o", model).status == 0
    done = confpress("sparsify", model, "-o", tmp_path / "again.onnx", "--pattern", "4:16",
                     "--exclude", "encoder.pre_encode.out")  # fmt: skip
    assert done.status == 0, done.err
    shares = []
    for name in ("sparse.onnx", "again.onnx"):
        graph = ir.load(tmp_path / name).graph
        weights = [constant(layer.weight) for layer in matmul_layers(graph)]
        shares.append(sum(np.count_nonzero(each) for each in weights if each is not None))
    # Nothing that was trained is left out by the pass.
    assert shares[0] == shares[1]


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_experts_are_routed_in_the_graph(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path, exporter: str
) -> None:
    work, config = tmp_path / "work", tmp_path / "experts.toml"
    config.write_text("[experts]\nhard = 0.3\nrate = 0.1\n")
    done = confpress(
        "finetune", checkpoint, "--data", speech, "-o", work, "--experts", 2, "--config", config,
        "--epochs", 2,
    )  # fmt: skip
    assert done.status == 0, done.err
    before, after = load_file(checkpoint), load_file(work / "model.safetensors")
    gates = {f"encoder.layers.0.feed_forward{i}.gate.weight" for i in (1, 2)}
    assert after.keys() - before.keys() == gates
    exported = tmp_path / "model.onnx"
    done = confpress("export", work / "model.safetensors", "-o", exported, "--exporter", exporter)
    assert done.status == 0, done.err
    model = ir.load(exported)
    run([Simplify(), Recognise()], model)
    result = run([RouteExperts()], model)
    assert [change.what for change in result.changes] == ["a frame computes one of 2 experts"] * 2
    routed = [layer.id for layer in matmul_layers(model.graph) if "expert" in layer.id]
    assert "encoder.layers.0.feed_forward1.expert2.linear1" in routed
    kinds = [module.kind for module in recognise(model).modules]
    assert kinds.count(Kind.FEED_FORWARD) == 2
    ir.save(model, tmp_path / "routed.onnx")
    random = np.random.default_rng(0)
    features = random.standard_normal((2, 80, 203), np.float32)
    outputs = []
    for path in (exported, tmp_path / "routed.onnx"):
        session = create_session(path, SessionOptions())
        names = [each.name for each in session.get_inputs()]
        feeds = dict(zip(names, (features, np.array([203, 90])), strict=True))
        outputs.append(session.run(None, feeds)[0])
    np.testing.assert_allclose(*outputs, atol=1e-4)
    again = confpress("finetune", work / "model.safetensors", "--data", speech,
                      "-o", tmp_path / "more", "--experts", 2)  # fmt: skip
    assert again.status == 1
    assert "has experts already" in again.err


def test_a_run_goes_on_and_ends_the_same(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    arguments = ("finetune", checkpoint, "--data", speech, "-o", work, "--bits", 4)
    assert confpress(*arguments, "--epochs", 1).status == 0
    done = confpress(*arguments, "--epochs", 2)
    assert "resumed after epoch 1" in done.err
    assert "epoch 2:" in done.err
    first = load_file(work / "model.safetensors")
    done = confpress(*arguments, "--epochs", 2)
    assert done.status == 0
    assert "epoch 2:" not in done.err
    again = load_file(work / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def test_our_own_checkpoint_stays_ours(confpress: Confpress, speech: Path, tmp_path: Path) -> None:
    config = ConformerConfig(vocabulary=3, subsampling_channels=4, **SHAPE)
    torch.manual_seed(0)
    state = {"model": ConformerCTC(config).state_dict(), "config": config.model_dump()}
    path = tmp_path / "trained" / "best.pt"
    path.parent.mkdir()
    torch.save(state | {"characters": "▁ab"}, path)
    (path.parent / "frontend.json").write_text(json.dumps({"preemphasis": 0.5}))
    done = confpress(
        "finetune", path, "--data", speech, "-o", tmp_path / "work", "--keep", 0.6, "--epochs", 4
    )
    assert done.status == 0, done.err
    done = confpress("export", tmp_path / "work" / "model.pt", "-o", tmp_path / "m.onnx")
    assert done.status == 0, done.err
    assert (tmp_path / "m.tokens.txt").is_file()
    assert json.loads((tmp_path / "m.frontend.json").read_text())["preemphasis"] == 0.5
    done = confpress("prune", tmp_path / "m.onnx", "-o", tmp_path / "pruned.onnx")
    assert done.status == 0, done.err
    sizes = [(tmp_path / name).stat().st_size for name in ("m.onnx", "pruned.onnx")]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing is asked of the weights: name --sparse, --bits, --keep or --experts"),
        (("--sparse", "4"), '"4" is no pattern N:M'),
        (("--sparse", "2:4", "--exclude", "flac"), "the paths of all recordings contain 'flac'"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path,
    options: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    work = tmp_path / "work"
    done = confpress("finetune", checkpoint, "--data", speech, "-o", work, *options)
    assert done.status == 1
    assert said in done.err
    assert not work.exists()


def test_too_few_recordings(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path
) -> None:
    for path in sorted(speech.iterdir())[5:]:
        path.unlink()
    arguments = ("finetune", checkpoint, "--data", speech, "-o", tmp_path / "work", "--bits", 4)
    done = confpress(*arguments)
    assert done.status == 1
    assert "5 recordings are too few to hold some out; name others with --validation" in done.err
    assert not (tmp_path / "work").exists()


def test_a_run_with_other_settings_is_not_gone_on_with(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path
) -> None:
    arguments = ("finetune", checkpoint, "--data", speech, "-o", tmp_path / "work", "--epochs", 1)
    assert confpress(*arguments, "--bits", 4).status == 0
    done = confpress(*arguments, "--bits", 3)
    assert done.status == 1
    assert "holds a run with other settings (finetuning.json); name another folder" in done.err


def test_learning_and_judging_share_no_recording(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path
) -> None:
    done = confpress(
        "finetune", checkpoint, "--data", speech, "--validation", speech,
        "-o", tmp_path / "work", "--bits", 4,
    )  # fmt: skip
    assert done.status == 1
    assert "is in both the training and the validation speech" in done.err


def test_a_checkpoint_without_its_front_end_is_refused(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path
) -> None:
    (checkpoint.parent / "frontend.json").write_text(json.dumps({"n_mels": 40}))
    done = confpress("finetune", checkpoint, "--data", speech, "-o", tmp_path / "work", "--bits", 4)
    assert done.status == 1
    assert "reads 80 features, and its front end gives 40" in done.err


def test_recordings_are_heard_at_several_speeds(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path
) -> None:
    results = []
    for name, speeds in (("one", "[1.0]"), ("three", "[0.8, 1.0, 1.25]")):
        config = tmp_path / f"{name}.toml"
        config.write_text(f"[hearing]\nspeeds = {speeds}\n[low_bit]\n")
        work = tmp_path / name
        done = confpress(
            "finetune", checkpoint, "--data", speech, "-o", work, "--config", config,
            "--epochs", 1,
        )  # fmt: skip
        assert done.status == 0, done.err
        results.append(load_file(work / "model.safetensors")["encoder.pre_encode.out.weight"])
    assert not torch.equal(*results)
    config.write_text("[hearing]\nspeeds = []\n[low_bit]\n")
    done = confpress("finetune", checkpoint, "--data", speech, "-o", work, "--config", config)
    assert done.status == 1
    assert "hearing.speeds" in done.err


def test_codes_that_were_trained_are_found_again(
    confpress: Confpress, speech: Path, tmp_path: Path
) -> None:
    checkpoint = _checkpoint(tmp_path, d_model=64, ff_dim=128)
    work = tmp_path / "work"
    done = confpress(
        "finetune", checkpoint, "--data", speech, "-o", work, "--bits", 4, "--epochs", 1
    )
    assert done.status == 0, done.err
    model, coded = tmp_path / "m.onnx", tmp_path / "coded.onnx"
    assert confpress("export", work / "model.safetensors", "-o", model).status == 0
    done = confpress(
        "quantize", model, "-o", coded, "--formats", "mofq4", "--float-frames",
        "--convolution", "float32", "--calibration", speech, "--exclude", "encoder.pre_encode.out",
    )  # fmt: skip
    assert done.status == 0, done.err
    random = np.random.default_rng(0)
    feeds = {
        "audio_signal": random.standard_normal((1, 80, 90)).astype(np.float32),
        "length": np.array([90]),
    }
    weights = [layer.weight for layer in matmul_layers(ir.load(coded).graph)]
    assert sum(constant(each) is None for each in weights) >= 8
    # As the file says: ONNX Runtime's MatMulNBits would round the frames, too.
    plain = SessionOptions(graph_level="disabled")
    trained, found = (create_session(path, plain).run(None, feeds)[0] for path in (model, coded))
    np.testing.assert_allclose(found, trained, atol=1e-5)


def test_a_device_that_is_not_there(
    confpress: Confpress, checkpoint: Path, speech: Path, tmp_path: Path
) -> None:
    config = tmp_path / "gpu.toml"
    config.write_text('[training]\ndevice = "cuda:99"\n[low_bit]\n')
    done = confpress(
        "finetune", checkpoint, "--data", speech, "-o", tmp_path / "work", "--config", config
    )
    assert done.status == 1
    assert "torch cannot compute on 'cuda:99' here" in done.err
    assert not (tmp_path / "work").exists()
