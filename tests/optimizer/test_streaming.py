"""Streaming exports through the pipeline: chunk by chunk they stay what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from confpress.optimizer.api import optimize
from confpress.optimizer.recipe.recipe import Recipe, preset
from confpress.optimizer.stages import LOSSLESS_STAGES, LOWER, Findings, Skip
from confpress.passes.base import Change, run
from confpress.runtime.chunks import Chunks
from confpress.runtime.inputs import SpeechSource
from confpress.runtime.model_file import load_model
from confpress.runtime.runner import Runner
from confpress.runtime.speech import FrontEnd
from confpress.runtime.validation.compare import compare_stream
from confpress.runtime.validation.streaming import StreamSource

pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.export import export_streaming_onnx

from tests.conftest import PIECES
from tests.models.test_streaming import streaming
from tests.optimizer.conftest import Confpress

EXPORTERS = [("torchscript", 17), ("dynamo", 18)]
NO_BENCH = {"bench": {"enabled": False}}


@pytest.fixture(scope="module")
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of one exporter, with front end and tokens."""
    exporter, opset = request.param
    path = tmp_path_factory.mktemp(exporter) / "model.onnx"
    export_streaming_onnx(streaming(), path, exporter, opset)
    FrontEnd().save(path.parent / "frontend.json")
    pieces = (*PIECES, "f")
    (path.parent / "tokens.txt").write_text(
        "".join(f"{piece} {index}\n" for index, piece in enumerate(pieces)), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize("exported", EXPORTERS, indirect=True, ids=lambda e: e[0])
def test_float32_stages_keep_every_chunk(exported: Path) -> None:
    """200 chunks with carried states, as target `cpu` runs them: last digits of float32 differ."""
    original, model = Runner.start(load_model(exported)), load_model(exported)
    changes: list[Change] = []
    for stage in (*LOSSLESS_STAGES, LOWER["cpu"]):
        passes = stage.passes(preset("lossless"), Findings())
        if not isinstance(passes, Skip):
            changes += run(passes, model).changes
    fused = [c.where for c in changes if c.what == "attention in one operator, RelPosAttention"]
    assert fused == ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"]
    assert original.chunks == Chunks(64, 64)
    chunks = StreamSource(SpeechSource(FrontEnd()), original.chunks).batch(1)
    found = compare_stream(original, Runner.start(model), chunks)
    assert len(found.errors) == 200
    assert max(found.errors) < 1e-6
    assert {d.output for d in found.outputs} >= {"logprobs", "next_keys_1", "next_seen"}
    assert max(d.max_abs / d.scale for d in found.outputs) < 1e-5


@pytest.mark.parametrize("exported", EXPORTERS, indirect=True, ids=lambda e: e[0])
def test_int8_follows_float_without_drift(
    exported: Path,
    speech_folder: Path,
    other_speech: Path,
    tmp_path: Path,
    confpress: Confpress,
) -> None:
    recipe = Recipe().replace(NO_BENCH)
    result = optimize(exported, recipe, output=tmp_path / "out", calibration=speech_folder)
    stages = {s.name: s for s in result.report.stages}
    proof = stages["merge_linears"].proof
    assert proof is not None
    # Chunks of 64 and of 128 frames, alone and three together.
    assert {(c.frames, c.batch) for c in proof.cases} == {(64, 1), (64, 3), (128, 1), (128, 3)}
    assert stages["calibrate"].status == "done"
    assert any("convolution" in c.what for c in stages["quantize"].changes)
    for name in ("portable", "cpu"):
        stream = result.report.validation[name].stream
        assert stream is not None
        assert stream.drift is not None
        assert 1e-5 < stream.drift.first < 0.02
        assert stream.drift.last <= stream.drift.first + stream.drift.noise
    done = confpress("validate", exported, result.model("cpu"), "--data", other_speech)
    assert done.status == 0, done.err
    assert "200 chunks of 640 ms with carried states" in done.out
    assert "they do not grow" in done.out
    assert "3 utterances" in done.out
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "200 chunks of 640 ms" in html
