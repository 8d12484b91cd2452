"""A mask of frames moves behind the linear layer, and the layer reads its frames channels last."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.convolution.frames_major import FramesMajor
from confpress.passes.rewrites.masks.frame_mask import FrameMask

from tests.passes.graphs import difference, operators, parse

# What follows a subsampling's convolutions: [batch, 3 channels, frames, 4 mels] to frames of 5.
TAIL = """
<ir_version: 10, opset_import: ["": {opset}]>
net (float[b, 3, t, 4] x, float[3, 3, 1, 1] v, bool[b, 1, {frames}, 1] m, float[12, 5] w,
     float[5] c)
  => (float[b, t, 5] y, int64[4] sizes)
{{
  factor = Cast <to = 1> (m)
  convolved = Conv (x, v)
  masked = Mul ({masked})
  sizes = Shape (masked)
  turned = Transpose <perm = [0, 2, 1, 3]> (masked)
  shape = Constant <value = int64[3] {{0, -1, 12}}> ()
  rows = Reshape (turned, shape)
  product = MatMul (rows, w)
  {bias}
  y = Identity (z)
}}"""
RANDOM = np.random.default_rng(0)


def tail(
    *,
    biased: bool = True,
    frames: str = "t",
    masked: str = "convolved, factor",
    kind: type[np.floating] = np.float32,
) -> ir.Model:
    """The graph with its sizes inferred."""
    bias = "z = Add (product, c)" if biased else "z = Identity (product)"
    text = TAIL.format(opset=13, frames=frames, masked=masked, bias=bias)
    if kind is np.float16:
        text = text.replace("float", "float16").replace("to = 1>", "to = 10>")
    return parse(
        text,
        v=RANDOM.standard_normal((3, 3, 1, 1)).astype(kind),
        w=RANDOM.standard_normal((12, 5)).astype(kind),
        c=RANDOM.standard_normal(5).astype(kind),
    )


def inferred(model: ir.Model) -> ir.Model:
    """The same with the sizes of its values."""
    for value, shape in (("masked", ["b", 3, "t", 4]), ("rows", ["b", "t", 12])):
        found = next(v for node in model.graph for v in node.outputs if v.name == value)
        found.shape = ir.Shape(shape)
    return model


def feeds(valid: tuple[int, ...], frames: int = 6) -> dict[str, np.ndarray]:
    mask = np.arange(frames)[None] < np.array(valid)[:, None]
    x = RANDOM.standard_normal((len(valid), 3, frames, 4)).astype(np.float32)
    return {"x": x, "m": mask[:, None, :, None]}


@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("masked", ["convolved, factor", "factor, convolved"])
@pytest.mark.parametrize("valid", [(6,), (6, 4, 0)])
def test_a_mask_before_the_product_moves_behind_it(
    biased: bool, masked: str, valid: tuple[int, ...]
) -> None:
    model = inferred(tail(biased=biased, masked=masked))
    original = model.clone()
    result = FrameMask()(model)
    assert len(result.changes) == 1
    names = operators(model)
    assert "Mul" not in names and names.index("MatMul") < names.index("Where")
    assert difference(original, model, feeds(valid)) == 0


def test_one_mask_for_the_whole_batch_is_spread_over_it() -> None:
    model = inferred(tail())
    model.graph.inputs[1].shape = ir.Shape([1, 1, "t", 1])
    original = model.clone()
    assert FrameMask()(model).modified
    given = feeds((6, 4, 2))
    assert difference(original, model, given | {"m": given["m"][1:2]}) == 0


def test_float16_stays_float16() -> None:
    model = inferred(tail(biased=False, kind=np.float16))
    original = model.clone()
    assert FrameMask()(model).modified
    given = feeds((6, 4))
    assert difference(original, model, given | {"x": given["x"].astype(np.float16)}) == 0


def test_a_mask_of_something_else_is_left_with_a_reason() -> None:
    model = inferred(tail())
    model.graph.inputs[1].shape = ir.Shape(["b", 1, "t", 4])
    result = FrameMask()(model)
    assert not result.modified
    assert "not one of frames" in result.refusals[0].reason


@pytest.mark.parametrize("valid", [(6,), (6, 4, 0)])
def test_frames_are_read_with_their_channels_last(valid: tuple[int, ...]) -> None:
    model = inferred(tail())
    original = model.clone()
    assert FramesMajor()(model).modified
    (transpose,) = (n for n in model.graph if n.op_type == "Transpose")
    assert transpose.attributes.get_ints("perm") == (0, 2, 3, 1)
    assert difference(original, model, feeds(valid)) < 1e-5
    assert not FramesMajor()(model).modified


def test_heads_keep_their_layout() -> None:
    model = inferred(tail())
    (convolution,) = (n for n in model.graph if n.op_type == "Conv")
    ir.convenience.replace_all_uses_with(convolution.outputs[0], model.graph.inputs[0])
    assert not FramesMajor()(model).modified


def test_a_layer_of_unknown_sizes_is_left_alone() -> None:
    model = tail()
    assert not FrameMask()(model).modified
    assert not FramesMajor()(model).modified
