"""Attention and a convolution in one residual branch: gates, memories, and what is neither."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.prune.plan import Cut, Plan, plan_template, resolve
from confpress.passes.structure import Kind, Module, Position, Structure, recognise

from .graphs import (
    ATTENTION,
    ATTENTION_INPUTS,
    ATTENTION_WEIGHTS,
    FEED_FORWARD,
    FEED_FORWARD_WEIGHTS,
    HEADS,
    NORM,
    SIZE,
    UNITS,
    Weight,
    chain,
    make,
    reasons,
    recognise_one,
    replaced,
)

#: The gate beside the attention, and what merges both (E-Branchformer's).
MERGED = """
  m = LayerNormalization <axis = -1> (x, g, s)
  e0 = MatMul (m, wg1)
  e1 = Add (e0, bg1)
  e2 = Relu (e1)
  kept, other = Split <axis = -1, num_outputs = 2> (e2)
  f0 = LayerNormalization <axis = -1> (other, gg, sg)
  f1 = Transpose <perm = [0, 2, 1]> (f0)
  f2 = Conv <kernel_shape = [3], pads = [1, 1], group = 12> (f1, wd, bw)
  f3 = Transpose <perm = [0, 2, 1]> (f2)
  f = Mul (kept, f3)
  h0 = MatMul (f, wg2)
  h = Add (h0, bg2)
  both = Concat <axis = -1> (o, h)
  z1 = Transpose <perm = [0, 2, 1]> (both)
  z2 = Conv <kernel_shape = [3], pads = [1, 1], group = 16> (z1, wm, bm)
  z3 = Transpose <perm = [0, 2, 1]> (z2)
  z4 = Add (both, z3)
  r0 = MatMul (z4, wr)
  r = Add (r0, br)
  y = Add (x, r)
"""
BRANCHES = replaced(ATTENTION, ("  y = Add (x, o)\n", MERGED))
WEIGHTS: dict[str, Weight] = ATTENTION_WEIGHTS | FEED_FORWARD_WEIGHTS | {
    "wg1": (8, UNITS), "bg1": (UNITS,), "gg": (12,), "sg": (12,), "wd": (12, 1, 3), "bw": (12,),
    "wg2": (12, 8), "bg2": (8,), "wm": (16, 1, 3), "bm": (16,), "wr": (16, 8), "br": (8,),
    "half_width": [0], "wnarrow": (24, 8),
}  # fmt: skip


def build(*bodies: str) -> ir.Model:
    return make(chain(*bodies), WEIGHTS, inputs=ATTENTION_INPUTS, infer=len(bodies) == 1)


def ids(modules: tuple[Module, ...]) -> list[str]:
    return [module.id for module in modules]


def test_attention_and_gate_are_told_apart() -> None:
    module = recognise_one(build(BRANCHES))
    assert module.kind is Kind.BRANCHES
    attention = module.attention
    assert (attention.heads, attention.head_size) == (HEADS, SIZE)
    assert attention.position is Position.RELATIVE
    roles = [layer.id.removeprefix(f"{module.id}.linear_") for layer in module.linears]
    assert sorted(roles) == ["gate1", "gate2", "k", "merge1", "out", "pos", "q", "v"]
    assert [c.id.rpartition(".")[2] for c in module.convolutions] == ["conv1", "conv2"]


def test_blocks_are_those_of_a_conformer() -> None:
    block = (FEED_FORWARD, BRANCHES, FEED_FORWARD, NORM)
    structure = recognise(build(*block, *block))
    parts = ["feed_forward1", "branches", "feed_forward2", "norm_out"]
    expected = [f"encoder.layers.{i}.{part}" for i in range(2) for part in parts]
    assert ids(structure.modules)[-8:] == expected


def test_blocks_without_norms_between_them() -> None:
    structure = recognise(build(BRANCHES, FEED_FORWARD, BRANCHES, FEED_FORWARD))
    modules = [m for m in structure.modules if m.layer is not None]
    assert [m.layer for m in modules] == [0, 0, 1, 1]
    assert {m.kind for m in modules} == {Kind.BRANCHES, Kind.FEED_FORWARD}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("f = Mul (kept, f3)\n  h0 = MatMul (f, wg2)",
         "f = Concat <axis = -1> (kept, f3)\n  h0 = MatMul (f, wnarrow)", "both take half"),
        ("f2 = Conv <kernel_shape = [3], pads = [1, 1], group = 12> (f1, wd, bw)", "f2 = Relu (f1)",
         "0 depthwise convolutions"),
        ("h0 = MatMul (f, wg2)", "h0 = Slice (f, half_width, four, axis_last)",
         "1 linear layer"),
    ],
)  # fmt: skip
def test_near_misses_say_what_is_missing(old: str, new: str, reason: str) -> None:
    weights = WEIGHTS | {"axis_last": [2], "four": [8] if "axis_last" in new else [4]}
    model = make(replaced(BRANCHES, (old, new)), weights, inputs=ATTENTION_INPUTS)
    assert reason in reasons(model)


def test_attention_that_remembers_values_is_attention() -> None:
    remembered = """
  t0 = Transpose <perm = [0, 2, 1]> (v0)
  t1 = Conv <kernel_shape = [3], pads = [1, 1], group = 8> (t0, wv8)
  t2 = Transpose <perm = [0, 2, 1]> (t1)
  both = Add (o, t2)
  y = Add (x, both)
"""
    body = replaced(ATTENTION, ("  y = Add (x, o)\n", remembered))
    model = make(body, WEIGHTS | {"wv8": (8, 1, 3)}, inputs=ATTENTION_INPUTS)
    module = recognise_one(model)
    assert module.kind is Kind.SELF_ATTENTION
    assert module.attention.heads == HEADS
    assert [c.id.rpartition(".")[2] for c in module.convolutions] == ["depthwise"]


def test_plans_drop_it_as_a_whole() -> None:
    structure: Structure = recognise(build(FEED_FORWARD, BRANCHES, FEED_FORWARD))
    (module,) = structure.of_kind(Kind.BRANCHES)
    assert module.id not in plan_template(structure).root
    (item,) = resolve(Plan({module.id: "drop"}), structure)
    assert (item.module, item.parts) == (module, None)
    block = resolve(Plan({"encoder.layers.0": "drop"}), structure)
    assert module in [item.module for item in block]
    with pytest.raises(ConfpressError, match="as a whole"):
        resolve(Plan({module.id: Cut(heads=(0,))}), structure)
