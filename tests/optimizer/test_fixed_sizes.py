"""Exports for constant sizes: as small, as fused and as right as those of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from confpress.optimizer.api import optimize
from confpress.optimizer.recipe.recipe import preset
from confpress.runtime.session import create_session, run_session
from confpress.runtime.speech import FrontEnd

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402

#: So large that exporters do not fold the projections of positions themselves.
WIDTH, FRAMES = 64, 320
QUICK = {"bench": {"enabled": False}, "proof": {"enabled": False}, "lower": {"measure": False}}


@pytest.fixture(params=[("torchscript", 1), ("dynamo", 2)], ids=lambda param: param[0])
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A seeded model for one batch and number of frames."""
    exporter, batch = request.param
    torch.manual_seed(0)
    config = ConformerConfig(
        vocabulary=7,
        d_model=WIDTH,
        layers=2,
        heads=2,
        ff_dim=64,
        kernel=5,
        subsampling_channels=8,
    )
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        ConformerCTC(config).eval(),
        (torch.randn(batch, 80, FRAMES), torch.full((batch,), FRAMES)),
        str(path),
        dynamo=exporter == "dynamo",
        opset_version=18,
        input_names=["audio_signal", "length"],
        output_names=["logprobs", "encoded_lengths"],
    )
    FrontEnd().save(path.parent / "frontend.json")
    return path


def test_attention_is_fused_and_positions_stay_small(exported: Path, tmp_path: Path) -> None:
    result = optimize(exported, preset("linear").replace(QUICK), output=tmp_path / "out")
    batch, _, frames = _shape(exported)
    generator = np.random.default_rng(0)
    features = generator.standard_normal((batch, 80, frames), np.float32)
    feeds = {"audio_signal": features, "length": np.array([frames, frames // 2][:batch])}
    expected, *_ = run_session(create_session(exported), feeds)
    for target in ("portable", "cpu"):
        path = result.model(target)
        found, *_ = run_session(create_session(path), feeds)
        error = np.square(found - expected).mean() / np.square(expected).mean()
        assert error < 1e-3
        graph = onnx.load(path).graph
        operators = [node.op_type for node in graph.node]
        assert operators.count("RelPosAttention") == (2 if target == "cpu" else 0)
        # Of the positions, all layers' table alone is in float32.
        rows = 2 * (frames // 4) - 1
        tables = [
            t for t in graph.initializer if rows in t.dims and t.data_type == onnx.TensorProto.FLOAT
        ]
        assert [np.prod(table.dims) for table in tables] == [rows * WIDTH]


def _shape(path: Path) -> list[int]:
    (features, *_) = onnx.load(path).graph.input
    return [axis.dim_value for axis in features.type.tensor_type.shape.dim]
