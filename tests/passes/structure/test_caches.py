"""Streaming states are attributed to the modules that they enter."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from confpress.passes.structure import Kind, recognise

from .graphs import (
    ATTENTION,
    ATTENTION_WEIGHTS,
    CONVOLUTION,
    CONVOLUTION_WEIGHTS,
    FEED_FORWARD,
    FEED_FORWARD_WEIGHTS,
    HEADS,
    SIZE,
    D,
    chain,
    make,
    replaced,
)

INPUTS = (
    f"float[B,T,{D}] x, float[1,P,{D}] pos, bool[B,1,1,T] mask, "
    f"float[2,B,{HEADS},C,{SIZE}] past_keys, float[B,{D},2] states"
)
WEIGHTS = ATTENTION_WEIGHTS | FEED_FORWARD_WEIGHTS | CONVOLUTION_WEIGHTS | {
    "pick": [0], "start": [-2], "many": [2**40], "time": [2], "axis0": [0],
}  # fmt: skip

STREAMING_ATTENTION = replaced(
    ATTENTION,
    ("k = Transpose <perm = [0, 2, 3, 1]> (k1)",
     "past0 = Slice (past_keys, pick, one, axis0)  past = Squeeze (past0, axis0)"
     "  now = Transpose <perm = [0, 2, 1, 3]> (k1)  allk = Concat <axis = 2> (past, now)"
     "  k = Transpose <perm = [0, 1, 3, 2]> (allk)"),
)  # fmt: skip
STREAMING_CONVOLUTION = replaced(
    CONVOLUTION,
    ("dw = Conv <kernel_shape = [3], pads = [1, 1], group = 8> (glu, wd, bdw)",
     "seen = Concat <axis = 2> (states, glu)  left = Slice (seen, start, many, time)"
     "  dw = Conv <group = 8> (seen, wd, bdw)"),
    ("left, right = Split", "first, right = Split"),
    ("Mul (left, gate)", "Mul (first, gate)"),
)  # fmt: skip


@pytest.fixture(scope="module")
def streaming() -> ir.Model:
    body = chain(FEED_FORWARD, STREAMING_ATTENTION, STREAMING_CONVOLUTION)
    body += "  new_keys = Unsqueeze (allk_1, axis0)  new_states = Identity (left_2)"
    outputs = f"float[B,T,{D}] y, float[1,B,{HEADS},K,{SIZE}] new_keys, float[B,{D},2] new_states"
    return make(body, WEIGHTS, inputs=INPUTS, outputs=outputs, infer=False)


def test_caches_of_attention_and_convolution(streaming: ir.Model) -> None:
    structure = recognise(streaming)
    found = {
        module.id: [(c.input.name, c.output and c.output.name) for c in module.caches]
        for module in structure.modules
    }
    assert found == {
        "encoder.pos_enc": [],
        "encoder.layers.0.feed_forward1": [],
        "encoder.layers.0.self_attn": [("past_keys", "new_keys")],
        "encoder.layers.0.conv": [("states", "new_states")],
    }


def test_nodes_of_the_successor_belong_to_the_module(streaming: ir.Model) -> None:
    structure = recognise(streaming)
    owners = {
        node.outputs[0].name: structure.module_of(node)
        for node in streaming.graph
        if node.outputs[0].name in ("new_keys", "left_2")
    }
    assert {name: m.kind for name, m in owners.items() if m} == {
        "new_keys": Kind.SELF_ATTENTION,
        "left_2": Kind.CONVOLUTION,
    }


def test_masks_and_tables_are_no_caches() -> None:
    model = make(
        ATTENTION, WEIGHTS, inputs=f"float[B,T,{D}] x, float[1,P,{D}] pos, bool[B,1,1,T] mask"
    )
    assert all(not module.caches for module in recognise(model).modules)
