from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from confpress.optimizer.package import ort_format
from confpress.optimizer.package.archive import unpack
from confpress.optimizer.package.build import KINDS, Built, build
from confpress.optimizer.package.check import transcripts
from confpress.optimizer.package.clips import write_clips
from confpress.optimizer.package.ort_format import required_kernels
from confpress.passes.errors import ConfpressError
from confpress.runtime.on_device.recogniser import Recogniser
from onnxruntime.tools.reduced_build_config_parser import parse_config

ORT = KINDS["ort"]


@pytest.fixture(scope="module")
def packed(small_result: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(small_result, ORT, tmp_path_factory.mktemp("ort") / "packed")


def test_scores_are_those_of_the_onnx_model(
    packed: Built, small_result: Path, tmp_path: Path
) -> None:
    unpack(packed.archive, tmp_path / "device")
    converted = Recogniser.open(tmp_path / "device")
    options = ort.SessionOptions()
    original = ort.InferenceSession(
        str(small_result / "portable" / "model.onnx"),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["NchwcTransformer"],
    )
    audio = np.random.default_rng(0).standard_normal(12345).astype(np.float32) * 0.1
    feeds = converted.feeds(audio)
    expected, (length,) = original.run(["logprobs", "encoded_lengths"], feeds)
    np.testing.assert_allclose(converted.scores(feeds), expected[0, :length], atol=1e-6)
    assert (packed.folder / "model.ort").read_bytes()[4:8] == b"ORTM"
    clips = write_clips(tmp_path, 16000)
    assert len("".join(transcripts(tmp_path / "device" / "transcribe.py", clips))) > 40


def test_the_configuration_names_every_operator_of_the_optimised_graph(
    packed: Built, small_result: Path, tmp_path: Path
) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(
        str(small_result / "portable" / "model.onnx"),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["NchwcTransformer"],
    )
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    needed = {(node.domain or "ai.onnx", node.op_type) for node in nodes}
    config = packed.folder / "required_operators.config"
    listed = {
        (domain, int(since), name)
        for domain, since, names in required_kernels(config)
        for name in names.split(", ")
    }
    names = {(domain, name) for domain, _, name in listed}
    assert needed <= names
    assert ("com.microsoft", "DynamicQuantizeMatMul") in names
    # As the build of ONNX Runtime reads it.
    required, _ = parse_config(str(config), enable_type_reduction=True)
    assert listed == {
        (domain, since, name)
        for domain, versions in required.items()
        for since, operators in versions.items()
        for name in operators
    }


def test_the_readme_lists_the_kernels(packed: Built) -> None:
    readme = (packed.folder / "README.md").read_text(encoding="utf-8")
    assert "- `com.microsoft` 1: DynamicQuantizeMatMul" in readme
    assert "--include_ops_by_config required_operators.config" in readme
    assert packed.manifest.model.file == "model.ort"
    assert ort.__version__.startswith(packed.manifest.model.minimum_onnxruntime)


def test_other_scores_are_refused(
    small_result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ort_format.Recogniser, "scores", lambda self, feeds: np.zeros((1, 7), np.float32)
    )
    with pytest.raises(ConfpressError, match=r"the scores of model\.ort differ by"):
        build(small_result, ORT, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []
