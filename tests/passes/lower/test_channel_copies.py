"""Integer convolutions of few channels read copies of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from confpress.passes.lower.channel_copies import ChannelCopies
from confpress.passes.quantize import Quantize, Range

from tests.passes.graphs import difference, operators, parse

RANDOM = np.random.default_rng(0)


def quantised(inputs: int, outputs: int, group: int = 1) -> ir.Model:
    model = parse(
        f"""
        <ir_version: 10, opset_import: ["": 21]>
        net (float[b, {inputs}, t, 20] x, float[{outputs}, {inputs // group}, 3, 3] w,
             float[{outputs}] c) => (float[b, {outputs}, u, v] y)
        {{ p = Conv <strides = [2, 2], pads = [1, 0, 1, 1], group = {group}> (x, w, c)
           r = Relu (p)
           y = Identity (r) }}""",
        w=RANDOM.standard_normal((outputs, inputs // group, 3, 3)).astype(np.float32),
        c=RANDOM.standard_normal(outputs).astype(np.float32),
    )
    Quantize(ranges={"x": Range(-3, 4), "r": Range(0, 30)})(model)
    return model


def feeds(inputs: int, batch: int = 2, frames: int = 17) -> dict[str, np.ndarray]:
    return {"x": RANDOM.standard_normal((batch, inputs, frames, 20)).astype(np.float32)}


@pytest.mark.parametrize(("inputs", "copies"), [(1, 4), (2, 2), (3, 4), (6, 2)])
def test_the_sums_are_the_same(inputs: int, copies: int) -> None:
    model = quantised(inputs, 24)
    original = model.clone()
    result = ChannelCopies()(model)
    assert [change.what for change in result.changes] == [
        f"reads its {inputs} input channels {copies} times"
    ]
    assert difference(original, model, feeds(inputs)) == 0
    assert difference(original, model, feeds(inputs, 1, 3)) == 0
    assert not ChannelCopies()(model).modified


def test_runtime_convolves_the_copies_in_integers(tmp_path: object) -> None:
    model = quantised(1, 16)
    ChannelCopies()(model)
    options = ort.SessionOptions()
    options.optimized_model_filepath = f"{tmp_path}/optimised.onnx"
    ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    kinds = operators(ir.load(f"{tmp_path}/optimised.onnx"))
    assert "QLinearConv" in kinds
    assert "Conv" not in kinds


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 16), (8, 24)])
def test_multiples_of_four_stay(inputs: int, outputs: int) -> None:
    result = ChannelCopies()(quantised(inputs, outputs))
    assert not result.modified and not result.refusals


@pytest.mark.parametrize("outputs", [8, 20])
def test_few_or_odd_output_channels_are_refused(outputs: int) -> None:
    result = ChannelCopies()(quantised(1, outputs))
    assert not result.modified
    assert f"{outputs} output channels" in result.refusals[0].reason


def test_others_are_left_alone() -> None:
    grouped = ChannelCopies()(quantised(2, 16, group=2))
    assert not grouped.modified and not grouped.refusals
    model = quantised(1, 16)
    (conv,) = (node for node in model.graph if node.op_type == "Conv")
    conv.replace_input_with(0, model.graph.inputs[0])  # float32 input
    assert not ChannelCopies()(model).modified
