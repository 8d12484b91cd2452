"""Counts by module, checked against the architecture's arithmetic."""

from __future__ import annotations

import json

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.structure import Recognise, Structure, Summary, recognise, summarise

from .graphs import (
    CONVOLUTION,
    CONVOLUTION_WEIGHTS,
    FEED_FORWARD,
    FEED_FORWARD_WEIGHTS,
    UNITS,
    D,
    make,
    replaced,
)

FRAMES = 1000
#: Encoder frames of 1,000 input frames: two strides of 2 with padding 1.
STEPS = 250
WIDTH, MELS, VOCABULARY = 176, 80, 1025


@pytest.fixture(scope="module")
def summary(nemo: ir.Model, structure: Structure) -> Summary:
    return summarise(nemo, structure, FRAMES)


def by_id(summary: Summary, name: str):
    (found,) = [m for m in summary.modules if m.id == name]
    return found


def test_multiply_accumulates_of_the_shared_model(summary: Summary) -> None:
    d, t = WIDTH, STEPS
    pre_encode = 500 * 40 * d * 9 + 250 * 20 * d * d * 9 + t * 20 * d * d
    feed_forward = 2 * t * d * 704
    positions = 2 * t - 1
    attention = 4 * t * d * d + positions * d * d + t * t * d + t * positions * d + t * t * d
    convolution = t * d * 2 * d + t * d * 31 + t * d * d
    head = t * d * VOCABULARY
    assert by_id(summary, "encoder.pre_encode").macs == pre_encode
    assert by_id(summary, "encoder.layers.7.feed_forward1").macs == feed_forward
    assert by_id(summary, "encoder.layers.7.self_attn").macs == attention
    assert by_id(summary, "encoder.layers.7.conv").macs == convolution
    assert by_id(summary, "decoder").macs == head
    layers = 16 * (2 * feed_forward + attention + convolution)
    assert summary.macs == pre_encode + layers + head
    assert all(module.unknown_macs == 0 for module in summary.modules)


def test_parameters_of_the_shared_model(summary: Summary) -> None:
    d = WIDTH
    feed_forward = 2 * d * 704 + 704 + d + 2 * d
    attention = 4 * (d * d + d) + d * d + 2 * d + 2 * d
    convolution = d * 2 * d + 2 * d + d * 31 + d + d * d + d + 2 * d
    table = 9999 * d
    # Single numbers that equal constants of other modules are stored once, in one of them.
    few = 16
    for name, expected in (
        ("feed_forward2", feed_forward),
        ("self_attn", attention),
        ("conv", convolution),
        ("norm_out", 2 * d),
    ):
        found = by_id(summary, f"encoder.layers.9.{name}").parameters
        assert expected <= found <= expected + few
    assert table <= by_id(summary, "encoder.pos_enc").parameters <= table + few
    total = 16 * (2 * feed_forward + attention + convolution + 2 * d) + table
    total += (d * VOCABULARY + VOCABULARY) + (9 * d + d) + (9 * d * d + d) + (20 * d * d + d)
    assert total <= summary.parameters <= total + few
    assert 4 * total <= summary.bytes <= 4 * total + 4096


def test_the_report_is_plain_data(summary: Summary) -> None:
    data = json.loads(json.dumps(summary.to_json()))
    assert data["frames"] == FRAMES
    assert data["macs"] == summary.macs
    assert set(data["opsets"]) == {""}
    attention = next(m for m in data["modules"] if m["id"] == "encoder.layers.0.self_attn")
    assert attention["facts"] == {
        "heads": 4, "head_size": 44, "position": "relative", "norm": "layer",
    }  # fmt: skip
    layer = attention["layers"][0]
    assert layer["id"] == "encoder.layers.0.self_attn.linear_q"
    assert layer["format"] == "float32"
    assert layer["macs"] == STEPS * WIDTH * WIDTH
    assert data["modules"][-1]["id"] == "shared"
    operators = sum(sum(m["operators"].values()) for m in data["modules"])
    assert operators > 1000


def test_zeros() -> None:
    pruned = np.ones((D, UNITS), np.float32)
    pruned[:, ::2] = 0
    model = make(FEED_FORWARD, FEED_FORWARD_WEIGHTS | {"w1": pruned})
    module = by_id(summarise(model, recognise(model)), "encoder.layers.0.feed_forward")
    assert module.weights == 2 * D * UNITS
    assert module.zeros == D * UNITS // 2
    assert module.zero_share == pytest.approx(0.25)
    assert [layer.zeros for layer in module.layers] == [D * UNITS // 2, 0]


def test_formats_and_quantised_activations() -> None:
    codes = np.arange(D * UNITS, dtype=np.int8).reshape(D, UNITS)
    dynamic = """
      size = Abs (n)
      top = ReduceMax <keepdims = 1> (size, last)
      floor = Max (top, tiny)
      scale = Div (floor, qmax)
      one_scale = Squeeze (scale)
      q = QuantizeLinear (n, step)
      dq = DequantizeLinear (q, step)
      wd = DequantizeLinear <axis = 1> (codes, scales)
      p1 = MatMul (dq, wd)
    """
    body = replaced(FEED_FORWARD, ("p1 = MatMul (n, w1)", dynamic))
    weights = FEED_FORWARD_WEIGHTS | {
        "codes": codes, "scales": (UNITS,), "step": 0.1, "tiny": 1e-6, "qmax": 127.0,
        "last": [-1],
    }  # fmt: skip
    model = make(body, weights, infer=False)
    first, second = by_id(
        summarise(model, recognise(model)), "encoder.layers.0.feed_forward"
    ).layers
    assert (first.format, first.activations) == ("int8", "static")
    assert (second.format, second.activations) == ("float32", "float")
    assert first.weight_shape == (D, UNITS)
    computed = replaced(body, ("(n, step)", "(n, one_scale)"), ("(q, step)", "(q, one_scale)"))
    moving = make(computed, weights, infer=False)
    module = by_id(summarise(moving, recognise(moving)), "encoder.layers.0.feed_forward")
    assert module.layers[0].activations == "dynamic"
    assert module.formats["int8"] == D * UNITS


def test_a_model_without_features_has_no_multiply_accumulates() -> None:
    model = make(
        "  y = MatMul (x, w)", {"w": (D, D)}, inputs=f"float[N,{D}] x", outputs="float[N,8] y"
    )
    found = summarise(model, recognise(model))
    assert found.frames is None
    assert found.macs == 0
    assert found.parameters == D * D
    assert [layer.id for layer in found.modules[0].layers] == ["w"]
    assert found.near_misses


def test_stamps_group_the_nodes_that_are_no_longer_recognised() -> None:
    model = make(CONVOLUTION, CONVOLUTION_WEIGHTS)
    Recognise()(model)
    found = summarise(model, Structure((), (), (), ()))
    assert [m.id for m in found.modules] == ["encoder.layers.0.conv", "shared"]
    assert found.modules[0].parameters == sum(
        v.const_value.size for v in model.graph.initializers.values() if v.const_value
    )
