"""Convolution modules in every spelling, and why others are refused."""

from __future__ import annotations

import pytest
from confpress.passes.structure import Kind, Module, recognise

from .graphs import (
    CONVOLUTION,
    CONVOLUTION_WEIGHTS,
    D,
    make,
    reasons,
    recognise_one,
    replaced,
)

WEIGHTS = CONVOLUTION_WEIGHTS | {
    "m1": (D, 2 * D), "m2": (D, D), "single": (D, D, 1), "gd": (D,), "sd": (D,), "mean": (D,),
    "var": (D,), "zero": [0], "eight": [D], "sixteen": [2 * D], "one": [1], "zerof": 0.0,
    "dense": (D, D, 3), "pads": [0, 0, 2, 0, 0, 0], "bias": (1, D, 1), "wp3": (D, D, 1),
}  # fmt: skip


def one(*pairs: tuple[str, str], **options: object) -> Module:
    module = recognise_one(make(replaced(CONVOLUTION, *pairs), WEIGHTS, **options))
    assert module.kind is Kind.CONVOLUTION
    return module


def test_a_convolution_module() -> None:
    module = one()
    details = module.convolution
    assert (details.channels, details.kernel, details.gate_half) == (D, 3, 1)
    assert details.norm is None
    assert [p.id for p in details.pointwise] == [
        "encoder.layers.0.conv.pointwise1",
        "encoder.layers.0.conv.pointwise2",
    ]
    assert details.depthwise.id == "encoder.layers.0.conv.depthwise"
    assert module.convolutions == (details.depthwise,)
    assert module.norm is not None


def test_pointwise_layers_as_matrix_products() -> None:
    module = one(
        ("t = Transpose <perm = [0, 2, 1]> (n)", ""),
        ("c1 = Conv <kernel_shape = [1]> (t, wp1, bp1)", "c1 = MatMul (n, m1)"),
        ("Split <axis = 1,", "Split <axis = 2,"),
        ("dw = Conv", "gt = Transpose <perm = [0, 2, 1]> (glu)  dw = Conv"),
        ("(glu, wd, bdw)", "(gt, wd, bdw)"),
        ("c2 = Conv <kernel_shape = [1]> (a, wp2, bp2)", "at = Transpose <perm = [0, 2, 1]> (a)"),
        ("branch = Transpose <perm = [0, 2, 1]> (c2)", "branch = MatMul (at, m2)"),
    )
    assert [p.node.op_type for p in module.convolution.pointwise] == ["MatMul", "MatMul"]
    assert module.convolution.gate_half == 1


@pytest.mark.parametrize(
    ("gate", "pairs"),
    [
        (0, [("gate = Sigmoid (right)", "gate = Sigmoid (left)"),
             ("glu = Mul (left, gate)", "glu = Mul (gate, right)")]),
        (1, [("left, right = Split <axis = 1, num_outputs = 2> (c1)",
              "left = Slice (c1, zero, eight, one)  right = Slice (c1, eight, sixteen, one)")]),
        (1, [("left, right = Split <axis = 1, num_outputs = 2> (c1)",
              "l0, r0 = Split <axis = 1, num_outputs = 2> (c1)  left = Add (l0, bias)"
              "  right = Add (bias, r0)"),
             ("gate = Sigmoid (right)", "g0 = Sigmoid (right)  gate = Mul (right, g0)")]),
        (None, [("wp1, bp1", "single"), ("left, right = Split <axis = 1, num_outputs = 2> (c1)",
                                         "glu = Relu (c1)"),
                ("gate = Sigmoid (right)", ""), ("glu = Mul (left, gate)", "")]),
    ],
)  # fmt: skip
def test_gates(gate: int | None, pairs: list[tuple[str, str]]) -> None:
    assert one(*pairs).convolution.gate_half == gate


@pytest.mark.parametrize(
    ("norm", "pairs"),
    [
        ("batch", [("bend = Sigmoid (dw)", "bn = BatchNormalization (dw, gd, sd, mean, var)"
                                           "  bend = Sigmoid (bn)"),
                   ("Mul (dw, bend)", "Mul (bn, bend)")]),
        ("layer", [("bend = Sigmoid (dw)",
                    "t1 = Transpose <perm = [0, 2, 1]> (dw)"
                    "  t2 = LayerNormalization <axis = -1> (t1, gd, sd)"
                    "  bn = Transpose <perm = [0, 2, 1]> (t2)  bend = Sigmoid (bn)"),
                   ("Mul (dw, bend)", "Mul (bn, bend)")]),
    ],
)  # fmt: skip
def test_norms_behind_the_depthwise_convolution(norm: str, pairs: list[tuple[str, str]]) -> None:
    details = one(*pairs).convolution
    assert details.norm is not None
    assert details.norm.type == norm


def test_masks_causal_padding_and_more_pointwise_layers() -> None:
    module = one(
        ("dw = Conv <kernel_shape = [3], pads = [1, 1], group = 8> (glu, wd, bdw)",
         "masked = Where (mask, zerof, glu)  padded = Pad (masked, pads)"
         "  dw0 = Conv <group = 8> (padded, wd, bdw)  dw = Conv (dw0, wp3)"),
        inputs=f"float[B,T,{D}] x, bool[B,1,T] mask",
    )  # fmt: skip
    roles = [p.id.rpartition(".")[2] for p in module.convolution.pointwise]
    assert roles == ["pointwise1", "pointwise2", "pointwise3"]


@pytest.mark.parametrize(
    ("reason", "pairs"),
    [
        ("no pointwise layer stands before its depthwise convolution",
         [("c1 = Conv <kernel_shape = [1]> (t, wp1, bp1)", "c1 = Concat <axis = 1> (t, t)")]),
        ("no pointwise layer stands after its depthwise convolution",
         [("c2 = Conv <kernel_shape = [1]> (a, wp2, bp2)", "c2 = Relu (a)")]),
        ("no product of one half with a non-linearity of the other (GLU)",
         [("glu = Mul (left, gate)", "glu = Add (left, gate)")]),
        ("it holds 2 depthwise convolutions",
         [("bend = Sigmoid (dw)",
           "dw1 = Conv <pads = [1, 1], group = 8> (dw, wd)  bend = Sigmoid (dw1)")]),
        ("one that mixes channels over 3 frames",
         [("bend = Sigmoid (dw)", "dw1 = Conv <pads = [1, 1]> (dw, dense)  bend = Sigmoid (dw1)"),
          ("Mul (dw, bend)", "Mul (dw1, bend)")]),
    ],
)  # fmt: skip
def test_refusals_say_why(reason: str, pairs: list[tuple[str, str]]) -> None:
    model = make(replaced(CONVOLUTION, *pairs), WEIGHTS, infer=False)
    assert reason in reasons(model)
    assert recognise(model).modules == ()
