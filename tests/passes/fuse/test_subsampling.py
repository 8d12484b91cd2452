"""Subsamplings in operators of ours: what they compute, their masks, and what is left alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.base import Change
from confpress.passes.fuse.subsampling import FuseSubsampling
from confpress.passes.fuse.subsampling_sparse import balanced_convolutions
from confpress.passes.linear import only_user
from confpress.passes.operators.sparseconv2d import from_pieces, pieces
from confpress.passes.rewrite import replace_value
from confpress.passes.sparsify import PATTERNS, kept_by
from confpress.runtime.kernels import library_path

from ..graphs import Arrays, evaluate, operators, parse

MELS = 12
Floats = npt.NDArray[np.float32]

CODES = """
{x}_q = QuantizeLinear ({x}, step, middle)
{x}_d = DequantizeLinear ({x}_q, step, middle)
"""
CONVOLUTION = """
f{i} = DequantizeLinear <axis = 0> (w{i}, s{i})
c{i} = Conv <group = {group}, strides = [{stride}, {stride}], pads = [{pads}]> ({x}_d, f{i}, b{i})
{activation}
"""
MASK = """
keep{i} = Cast <to = 1> (m{i})
h{i} = Mul (a{i}_d, keep{i})
"""


@dataclass(frozen=True)
class Net:
    """A subsampling as an interchange model has it; inputs x [b, 1, t, 12] and masks of frames.

    Attributes:
        convolutions: Of each its output channels, group and stride: 3x3, or 1x1 of stride 1.
        sparse: The pattern of the weights of those after the first, if any.
        masked: Whether masked frames are zeros behind every convolution.
        activation: From c{i}, convolution number i, to a{i}.
    """

    convolutions: tuple[tuple[int, int, int], ...] = ((6, 1, 2), (8, 1, 2))
    masked: bool = True
    sparse: str = ""
    activation: str = "a{i} = Relu (c{i})"

    def model(self, *, codes: bool = True, change: tuple[str, str] = ("", "")) -> ir.Model:
        """The interchange model; without the codes of activations, what it is an estimate of."""
        text, weights = self._text()
        assert change[0] in text
        model = parse(text.replace(*change) if change[0] else text, **weights)
        common.IdentityEliminationPass()(model)
        for node in list(model.graph):
            decode = only_user(node.outputs[0])
            if not codes and node.op_type == "QuantizeLinear" and decode is not None:
                replace_value(decode.outputs[0], node.inputs[0])
        return model

    def feeds(self, batch: int, frames: int, kept: int) -> Arrays:
        """Random frames; of the last utterance this many are kept in the masks."""
        generator = np.random.default_rng(1)
        feeds = {"x": generator.standard_normal((batch, 1, frames, MELS), np.float32)}
        for i, (_, _, stride) in enumerate(self.convolutions):
            frames, kept = -(-frames // stride), -(-kept // stride)
            if self.masked:
                mask = np.ones((batch, 1, frames, 1), bool)
                mask[-1, :, kept:] = False
                feeds[f"m{i}"] = mask
        return feeds

    def _text(self) -> tuple[str, dict[str, npt.NDArray[np.generic]]]:
        generator = np.random.default_rng(0)
        weights: dict[str, npt.NDArray[np.generic]] = {
            "step": np.array(0.04, np.float32),
            "middle": np.array(128, np.uint8),
        }
        body, value, inputs = "", "x", 1
        for i, (outputs, group, stride) in enumerate(self.convolutions):
            taps = 3 if stride == 2 else 1
            shape = (outputs, inputs // group, taps, taps)
            weights[f"w{i}"] = generator.integers(-127, 128, shape).astype(np.int8)
            if self.sparse and inputs > 1:
                rows = pieces(weights[f"w{i}"])
                keep = kept_by(generator.random(rows.shape, np.float32), PATTERNS[self.sparse])
                weights[f"w{i}"] = weights[f"w{i}"] * from_pieces(keep, shape)
            size = 1 / (60 * np.sqrt(np.prod(shape[1:])))
            weights[f"s{i}"] = (generator.uniform(0.5, 1, outputs) * size).astype(np.float32)
            weights[f"b{i}"] = generator.standard_normal(outputs, np.float32) * np.float32(0.1)
            body += CODES.format(x=value) + CONVOLUTION.format(
                i=i,
                x=value,
                group=group,
                stride=stride,
                pads=", ".join([str(taps // 2)] * 4),
                activation=self.activation.format(i=i),
            )
            value, inputs = f"a{i}", outputs
            if self.masked:
                body += CODES.format(x=value) + MASK.format(i=i)
                value = f"h{i}"
        body += CODES.format(x=value) + f"y = Transpose <perm = [0, 2, 3, 1]> ({value}_d)"
        masks = [f"bool[b, 1, t{i}, 1] m{i}" for i in range(len(self.convolutions)) if self.masked]
        declared = [f"{_type(array)} {name}" for name, array in weights.items()]
        given = ", ".join([f"float[b, 1, t, {MELS}] x", *masks, *declared])
        text = (
            '<ir_version: 10, opset_import: ["": 17]>\n'
            f"net ({given}) => (float[b, u, f, {inputs}] y) {{ {body} }}"
        )
        return text, weights


def _type(array: npt.NDArray[np.generic]) -> str:
    name = {"float32": "float", "int8": "int8", "uint8": "uint8"}[str(array.dtype)]
    return f"{name}[{', '.join(map(str, array.shape))}]" if array.shape else name


def _error(y: Floats, wanted: Floats) -> float:
    return float(np.sqrt(np.mean((y - wanted) ** 2) / np.mean(wanted**2)))


SEPARABLE = ((6, 1, 2), (6, 6, 2), (10, 1, 1), (10, 10, 2), (8, 1, 1))
NETS = [
    (Net(), ["DepthwiseConv2dReLUUint8", "QuantConv2dReLU"]),
    (Net(masked=False), ["DepthwiseConv2dReLUUint8", "QuantConv2dReLU"]),
    (
        Net(activation="o{i} = Sigmoid (c{i}) a{i} = Mul (c{i}, o{i})"),
        ["DepthwiseConv2dSiLUUint8", "QuantConv2dSiLU"],
    ),
    (
        Net(SEPARABLE, activation="a{i} = Identity (c{i})"),
        ["DepthwiseConv2dUint8", "Uint8DepthwiseConv2dUint8", "QuantConv2d"],
    ),
]


@pytest.mark.parametrize(("net", "expected"), NETS)
@pytest.mark.parametrize("kernels", [True, False])
def test_nearer_to_float32_than_constant_ranges(
    net: Net, expected: list[str], kernels: bool
) -> None:
    exact, interchange, model = net.model(codes=False), net.model(), net.model()
    result = FuseSubsampling()(model)
    assert len(result.changes) == len(net.convolutions)
    assert not {"Conv", "QuantizeLinear"} & set(operators(model))
    assert set(operators(model)) >= set(expected)
    library = str(library_path()) if kernels else None
    coded = sum(operator.endswith("Uint8") for operator in operators(model))
    for batch, frames, kept in ((1, 33, 33), (1, 40, 22), (3, 50, 17), (2, 9, 0)):
        feeds = net.feeds(batch, frames, kept)
        wanted, before, y = (evaluate(m, feeds, library)[0] for m in (exact, interchange, model))
        assert y.shape == wanted.shape
        assert _error(y, wanted) < min(0.005 * coded, _error(before, wanted) / 3)


def test_masked_frames_are_zeros_and_do_not_count() -> None:
    net = Net()
    model = net.model()
    FuseSubsampling()(model)
    library = str(library_path())
    feeds = dict(net.feeds(1, 60, 32))
    (y,) = evaluate(model, feeds, library)
    assert not y[:, 8:].any()
    assert y[:, :8].any()
    # What stands behind the end changes nothing as long as the masks say so.
    other = feeds | {"x": feeds["x"] * (np.arange(60) < 40)[:, None]}
    (short,) = evaluate(model, other, library)
    np.testing.assert_array_equal(y, short)


def test_a_batch_changes_no_bit() -> None:
    net = Net(SEPARABLE)
    model = net.model()
    FuseSubsampling()(model)
    feeds = net.feeds(3, 50, 30)
    (y,) = evaluate(model, feeds, str(library_path()))
    for i in range(3):
        alone = {name: array[i : i + 1] for name, array in feeds.items()}
        (single,) = evaluate(model, alone, str(library_path()))
        np.testing.assert_array_equal(single, y[i : i + 1])


def test_shapes_that_are_asked_for_stay_those_with_channels_first() -> None:
    change = ("(a1_d, keep1)", "(a1_d, keep1) sizes = Shape (h1)")
    model = Net().model(change=change)
    sizes = next(v for n in model.graph for v in n.outputs if v.name == "sizes")
    sizes.type, sizes.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([4])
    model.graph.outputs.append(sizes)
    assert FuseSubsampling()(model).modified
    _, found = evaluate(model, Net().feeds(2, 21, 12))
    assert found.tolist() == [2, 8, 6, 3]


def test_what_follows_with_channels_first_gets_them() -> None:
    net = Net(masked=False)
    change = ("y = Transpose <perm = [0, 2, 3, 1]> (a1_d)", "y = Identity (a1_d)")
    model, exact = net.model(change=change), net.model(change=change, codes=False)
    FuseSubsampling()(model)
    feeds = net.feeds(2, 21, 21)
    assert _error(evaluate(model, feeds)[0], evaluate(exact, feeds)[0]) < 0.01


@pytest.mark.parametrize(
    ("net", "change", "reason"),
    [
        (Net(), ("Conv <group = 1,", "Conv <group = 1, dilations = [2, 2],"), "skips elements"),
        (Net(), ("Conv <group = 1,", 'Conv <auto_pad = "VALID",'), "padding is automatic"),
        (Net(), ("pads = [1, 1, 1, 1]", "pads = [3, 1, 3, 1]"), "as wide as its kernel"),
        (Net(), ("strides = [2, 2]", "strides = [65, 1]"), "larger than 64"),
        (Net(((6, 1, 2),)), ("", ""), "int8 over several channels"),
        (Net(), ("<axis = 0> (w0", "<axis = 1> (w0"), "not those of output channels"),
        (Net(), ('"": 17', '"": 13'), "need opset 15"),
    ],
)
def test_others_stay_with_a_reason(net: Net, change: tuple[str, str], reason: str) -> None:
    model = net.model(change=change)
    result = FuseSubsampling()(model)
    assert reason in result.refusals[0].reason
    assert "Conv" in operators(model)


def test_convolutions_behind_a_refused_one_are_still_fused() -> None:
    net = Net(((6, 1, 2), (8, 1, 2)), masked=False)
    change = ("c0 = Conv <group = 1,", "c0 = Conv <group = 1, dilations = [2, 2],")
    model, exact = net.model(change=change), net.model(change=change, codes=False)
    result = FuseSubsampling()(model)
    assert result.changes == (Change("Conv", "QuantConv2d, channels last"),)
    feeds = net.feeds(2, 40, 40)
    assert _error(evaluate(model, feeds)[0], evaluate(exact, feeds)[0]) < 0.02


@pytest.mark.parametrize(
    ("pattern", "operator"),
    [("4:16", "SparseConv2dReLU"), ("2:16", "SparseConv2dReLU"), ("8:16", "QuantConv2dReLU")],
)
def test_balanced_zeros_are_skipped_where_that_is_faster(pattern: str, operator: str) -> None:
    net = Net(((24, 1, 2), (20, 1, 2)), sparse=pattern)
    model, dense = net.model(), net.model()
    feeds = net.feeds(2, 30, 20)
    result = FuseSubsampling()(model)
    assert operator in operators(model)
    name = f"SparseConv2d ({pattern})" if operator[0] == "S" else "QuantConv2d"
    assert result.changes[1].what == f"{name}, channels last"
    costs = {(20, 216, "Conv 3x3 by 2x2 dense"): 1.0, (20, 216, f"Conv 3x3 by 2x2 {pattern}"): 2.0}
    FuseSubsampling(costs=costs)(dense)
    assert "QuantConv2dReLU" in operators(dense)
    assert _error(evaluate(model, feeds)[0], evaluate(dense, feeds)[0]) < 1e-6


def test_balanced_convolutions_are_found_to_be_measured() -> None:
    model = Net(((24, 1, 2), (20, 1, 2), (20, 1, 1)), sparse="4:16").model()
    found = balanced_convolutions(model)
    assert {(each.shape, str(each.pattern)) for each in found} == {
        ((20, 24, 3, 3), "4:16"),
        ((20, 20, 1, 1), "4:16"),
    }
