"""Pruning of a streaming Conformer: its states shrink, and chunk after chunk gives the same."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from confpress.passes.prune import ApplyPlan, Plan, mask_plan
from confpress.passes.rewrites.simplify import Simplify
from confpress.runtime.runner import Runner

from tests.passes.prune.masks import parameters

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.models.export import export_streaming_onnx  # noqa: E402
from confpress.models.streaming import StreamingConformerCTC  # noqa: E402

D, HEADS, UNITS, KERNEL, PAST = 32, 4, 48, 7, 20


@pytest.mark.parametrize(("exporter", "opset"), [("torchscript", 17), ("dynamo", 18)])
def test_states_shrink_and_chunks_give_the_same(
    tmp_path: Path, exporter: Literal["torchscript", "dynamo"], opset: int
) -> None:
    torch.manual_seed(0)
    config = ConformerConfig(
        vocabulary=7,
        d_model=D,
        layers=2,
        heads=HEADS,
        ff_dim=UNITS,
        kernel=KERNEL,
        subsampling_channels=8,
        causal=True,
    )
    trained = ConformerCTC(config).eval()
    for name, parameter in trained.named_parameters():
        if "pos_bias" in name:
            torch.nn.init.normal_(parameter)  # equal ones would be stored once
    path = tmp_path / "model.onnx"
    export_streaming_onnx(StreamingConformerCTC(trained, PAST), path, exporter, opset)
    model = ir.load(path)
    Simplify()(model)
    plan = Plan.model_validate(
        {
            "encoder.layers.0.self_attn": {"heads": [0, 2]},
            "encoder.layers.1.self_attn": {"heads": [3]},
            "encoder.layers.1.conv": {"channels": [1, 2, 30]},
            "encoder.layers.0.feed_forward1": {"units": [0, 5]},
        }
    )
    masked, before = model.clone(), parameters(model)
    mask_plan(masked, plan)
    ApplyPlan(plan)(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)

    size = D // HEADS
    head = size * (3 * D + 3) + 2 * size * D + 2 * size
    channel = 2 * (D + 1) + KERNEL + 1 + D
    assert before - parameters(model) == 3 * head + 3 * channel + 2 * (2 * D + 1)

    pruned, reference = Runner.start(model), Runner.start(masked)
    shapes = {state.input: state.shape for state in pruned.interface.states}
    assert shapes["keys_0"] == shapes["values_0"] == (None, PAST, D - 2 * size)
    assert shapes["keys_1"] == (None, PAST, D - size)
    assert shapes["convolution_1"] == (None, D - 3, KERNEL - 1)
    assert shapes["convolution_0"] == (None, D, KERNEL - 1)
    assert shapes["features"] == (None, 80, 4)
    for batch in (1, 3):
        random = np.random.default_rng(batch)
        chunks = [
            [random.standard_normal((80, frames), np.float32) for _ in range(batch)]
            for frames in (16, 32, 16, 48, 64)
        ]
        for a, b in zip(pruned.stream(chunks), reference.stream(chunks), strict=True):
            np.testing.assert_allclose(a["logprobs"], b["logprobs"], atol=1e-5)
            np.testing.assert_array_equal(a["next_seen"], b["next_seen"])
