"""The subsamplings of our own Conformers, under length masks, from quantisation to the kernels."""

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
from confpress.passes.base import run
from confpress.passes.fuse.subsampling import FuseSubsampling
from confpress.passes.quantize import Quantize, Range, values_to_calibrate
from confpress.passes.rewrites.convolution.frames_major import FramesMajor
from confpress.passes.rewrites.masks.frame_mask import FrameMask
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.structure import Recognise
from confpress.runtime.kernels import library_path

from ..graphs import Arrays, evaluate, operators

SIZES = {"vocabulary": 7, "d_model": 16, "layers": 1, "heads": 2, "ff_dim": 24, "kernel": 5}
STRIDING = {"subsampling_channels": 24}
SEPARABLE = {"subsampling": "dw_striding", "subsampling_factor": 8, "subsampling_channels": 24}


def _prepared(path: Path) -> ir.Model:
    model = ir.load(path)
    run([Simplify(), Recognise(), FrameMask(), FramesMajor()], model)
    return model


def _feeds(batch: int, frames: int, last: int) -> Arrays:
    features = np.random.default_rng(3).standard_normal((batch, 80, frames), np.float32)
    return {"audio_signal": features, "length": np.array([frames] * (batch - 1) + [last])}


@pytest.mark.parametrize(
    ("options", "depthwise", "others"), [(STRIDING, 1, 1), (SEPARABLE, 3, 2)], ids=["x4", "x8"]
)
def test_every_convolution_gets_an_operator(
    tmp_path: Path, options: dict[str, object], depthwise: int, others: int
) -> None:
    torch.manual_seed(0)
    network = ConformerCTC(ConformerConfig(**{**SIZES, **options})).eval()
    export_onnx(network, tmp_path / "model.onnx", "torchscript", 17)
    exact, model = _prepared(tmp_path / "model.onnx"), _prepared(tmp_path / "model.onnx")
    ranges = {name: Range(-4.0, 4.0) for name in values_to_calibrate(model)}
    result = run([Quantize(linear="float32", ranges=ranges), FuseSubsampling()], model)
    found = [c.what for c in result.changes if "channels last" in c.what]
    assert sum("DepthwiseConv2d" in what for what in found) == depthwise
    assert sum("QuantConv2d" in what for what in found) == others
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(model))
    library = str(library_path())
    for batch, frames, last in ((1, 120, 120), (1, 161, 90), (3, 120, 9)):
        feeds = _feeds(batch, frames, last)
        (wanted, lengths), (y, same) = evaluate(exact, feeds), evaluate(model, feeds, library)
        assert lengths.tolist() == same.tolist()
        assert np.abs(y - wanted).max() < 0.02 * np.abs(wanted).max()
