"""Weights of seven bits: what they keep, and whom they leave alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.lower.stored import stored_weight_of
from confpress.passes.quantize import Quantize, Range
from confpress.passes.seven_bits import LARGEST, SevenBits

from tests.passes.graphs import parse

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.standard_normal((64, 32)).astype(np.float32)
KERNEL = RANDOM.standard_normal((8, 8, 3, 3)).astype(np.float32)
LINEAR = """<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 64] x, float[64, 32] w) => (float[b, t, 32] y) { y = MatMul (x, w) }"""
CONVOLUTION = """<ir_version: 10, opset_import: ["": 21]>
net (float[b, 8, t, 16] x, float[8, 8, 3, 3] w) => (float[b, 8, t, 14] y) {
    y = Conv <kernel_shape = [3, 3]> (x, w) }"""


def weights(model: ir.Model) -> list[np.ndarray]:
    stored = [stored_weight_of(node) for node in model.graph]
    return [each.decoded() for each in stored if each is not None]


def codes(model: ir.Model) -> list[np.ndarray]:
    stored = [stored_weight_of(node) for node in model.graph]
    return [each.codes for each in stored if each is not None]


def test_linear_weights_are_rounded_once_more() -> None:
    model = parse(LINEAR, w=WEIGHT)
    Quantize(convolution="float32")(model)
    assert SevenBits()(model).changes[0].what == "weights within ±64"
    assert np.abs(codes(model)[0]).max() == LARGEST
    step = np.abs(WEIGHT).max(axis=0) / LARGEST
    # Half a step of seven bits, and half a step of eight before.
    assert (np.abs(weights(model)[0] - WEIGHT) <= 0.76 * step).all()
    assert not SevenBits()(model).modified


def test_convolutions_have_their_channels_on_the_first_axis() -> None:
    model = parse(CONVOLUTION, w=KERNEL)
    Quantize(ranges={"x": Range(-4.0, 4.0), "y": Range(-40.0, 40.0)})(model)
    assert SevenBits()(model).modified
    step = np.abs(KERNEL).max(axis=(1, 2, 3), keepdims=True) / LARGEST
    assert (np.abs(weights(model)[0] - KERNEL) <= 0.76 * step).all()


def test_storage_keeps_its_bits() -> None:
    model = parse(LINEAR, w=WEIGHT)
    (product,) = (node for node in model.graph if node.op_type == "MatMul")
    product.metadata_props["confpress.layer"] = "head"
    Quantize(convolution="float32", plan=FormatPlan(layers={"head": LayerFormat(weight="int8")}))(
        model
    )
    assert not SevenBits()(model).modified
