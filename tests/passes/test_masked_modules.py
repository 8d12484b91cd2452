"""Modules behind a mask of zero leave the stream; anything less stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.masked_modules import RemoveMaskedModules, ZeroAnalysis
from confpress.passes.rewrite import Patch
from confpress.passes.simplify import Simplify
from confpress.passes.structure import recognise

from tests.passes.graphs import difference, parse

MASKED = ("encoder.layers.3.conv", "encoder.layers.5.self_attn", "encoder.layers.7.feed_forward1")


def gate(model: ir.Model, module_id: str, value: np.ndarray) -> None:
    """Multiplies the branch of a module by a constant, as an exported L0 mask does."""
    module = recognise(model).module(module_id)
    add = module.residual_add
    assert add is not None
    index = next(i for i, each in enumerate(add.inputs) if each is not module.input)
    patch = Patch(add)
    add.replace_input_with(index, patch.op("Mul", add.inputs[index], patch.constant(value, "mask")))


@pytest.fixture(scope="module")
def simplified(nemo_model: Path) -> ir.Model:
    model = ir.load(nemo_model)
    Simplify()(model)
    return model


def parameters(model: ir.Model) -> int:
    return sum(v.const_value.size for v in model.graph.initializers.values() if v.const_value)


@pytest.mark.parametrize("shape", [(), (1,), (176,)])
def test_gates_of_zero_remove_their_modules(simplified: ir.Model, shape: tuple[int, ...]) -> None:
    model, original = simplified.clone(), simplified.clone()
    for module_id in MASKED:
        gate(model, module_id, np.zeros(shape, np.float32))
        gate(original, module_id, np.zeros(shape, np.float32))
    result = RemoveMaskedModules()(model)
    assert {change.where for change in result.changes} == set(MASKED)
    # Weights, biases and norms of the three; 2d+1 a unit, GRAPHS' arithmetic for whole modules.
    d, units, kernel = 176, 704, 31
    feed_forward = units * (2 * d + 1) + d + 2 * d
    attention = 4 * (d * d + d) + d * d + 2 * d + 2 * d
    convolution = d * (2 * (d + 1) + kernel + 1 + d) + d + 2 * d
    removed = parameters(original) - parameters(model)
    masks = 3 * int(np.prod(shape)) if shape else 3
    assert feed_forward + attention + convolution <= removed
    assert removed <= feed_forward + attention + convolution + masks + 64
    random = np.random.default_rng(0)
    for batch, frames in ((1, 160), (2, 97)):
        feeds = {
            "audio_signal": random.standard_normal((batch, 80, frames)).astype(np.float32),
            "length": np.full(batch, frames, np.int64),
        }
        assert difference(model, original, feeds) <= 1e-4


def test_a_mask_that_lets_one_channel_through_stays(simplified: ir.Model) -> None:
    model = simplified.clone()
    mask = np.zeros(176, np.float32)
    mask[5] = 1
    gate(model, MASKED[0], mask)
    assert not RemoveMaskedModules()(model).modified


@pytest.mark.parametrize(
    ("body", "zero"),
    [
        ("m = Mul (x, z)  y = Relu (m)", True),
        ("m = Mul (x, z)  n = MatMul (m, w)  y = Transpose (n)", True),
        ("m = Mul (x, z)  n = MatMul (m, w)  y = Add (n, w)", False),
        ("m = Mul (x, z)  y = Sigmoid (m)", False),
        ("m = Mul (x, z)  y = Add (m, x)", False),
        ("m = Mul (x, z)  y = Mul (x, m)", True),
        ("m = Mul (x, z)  n = Exp (m) y = Identity (n)", False),
    ],
)
def test_zero_analysis(body: str, zero: bool) -> None:
    model = parse(
        f"""
    <ir_version: 10, opset_import: ["": 21]>
    net (float[4, 4] x, float z, float[4, 4] w) => (float[4, 4] y) {{ {body} }}""",
        z=np.array(0, np.float32),
        w=np.eye(4, dtype=np.float32),
    )
    assert ZeroAnalysis()(model.graph.outputs[0]) is zero
