"""Our own Conformer under both exporters: the recogniser's names are the checkpoint's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

import torch
from confpress.models.config import ConformerConfig
from confpress.models.ctc import ConformerCTC
from confpress.models.export import export_onnx
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.structure import Kind, Position, recognise

SIZES = {"vocabulary": 7, "d_model": 16, "layers": 2, "heads": 2, "ff_dim": 24, "kernel": 5}
STRIDING = {"subsampling_channels": 4}
SEPARABLE = {"subsampling": "dw_striding", "subsampling_factor": 8, "subsampling_channels": 4}
NAMES = {"conv.pointwise1": "conv.pointwise_conv1", "conv.pointwise2": "conv.pointwise_conv2"}


@pytest.mark.parametrize(
    ("exporter", "opset", "options"),
    [
        ("torchscript", 13, STRIDING),
        ("torchscript", 17, STRIDING | {"max_positions": 200}),
        ("dynamo", 18, SEPARABLE),
    ],
)
def test_recognised_by_the_checkpoints_names(
    tmp_path: Path, exporter: str, opset: int, options: dict[str, object]
) -> None:
    torch.manual_seed(0)
    network = ConformerCTC(ConformerConfig(**{**SIZES, **options}))
    export_onnx(network, tmp_path / "model.onnx", exporter, opset)
    model = ir.load(tmp_path / "model.onnx")
    Simplify()(model)
    structure = recognise(model)
    assert structure.near_misses == ()
    parts = ["feed_forward1", "self_attn", "conv", "feed_forward2", "norm_out"]
    expected = ["encoder.pre_encode", "encoder.pos_enc"]
    expected += [f"encoder.layers.{i}.{part}" for i in range(2) for part in parts]
    assert [m.id for m in structure.modules] == [*expected, "decoder"]
    assert structure.modules[0].subsampling.factor == options.get("subsampling_factor", 4)
    for module in structure.of_kind(Kind.SELF_ATTENTION):
        assert (module.attention.heads, module.attention.head_size) == (2, 8)
        assert module.attention.position is Position.RELATIVE
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    for layer in structure.linears[:-1]:
        name = layer.id
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        tensor = layer.weight.const_value
        assert tensor is not None
        stored = tensor.numpy() if layer.out_axis == 0 else tensor.numpy().T
        np.testing.assert_array_equal(stored, weights[f"{name}.weight"])
