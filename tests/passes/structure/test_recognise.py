"""Whole models: the shared Conformer, chains of modules, models without any."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx_ir as ir
import pytest
from confpress.passes.base import LAYER_KEY, layer_of
from confpress.passes.structure import Kind, Position, Recognise, Structure, recognise
from onnx_ir.passes.common import RemoveUnusedNodesPass

from .graphs import (
    ATTENTION,
    ATTENTION_WEIGHTS,
    CONVOLUTION,
    CONVOLUTION_WEIGHTS,
    FEED_FORWARD,
    FEED_FORWARD_WEIGHTS,
    NORM,
    UNITS,
    D,
    chain,
    make,
    replaced,
)

BLOCK = (FEED_FORWARD, ATTENTION, CONVOLUTION, FEED_FORWARD)
WEIGHTS = FEED_FORWARD_WEIGHTS | ATTENTION_WEIGHTS | CONVOLUTION_WEIGHTS
INPUTS = f"float[B,T,{D}] x, float[1,P,{D}] pos, bool[B,1,1,T] mask"


def conformer(*bodies: str, tail: str = "", outputs: str = f"float[B,T,{D}] y") -> ir.Model:
    weights = WEIGHTS | {"head": (D, 5), "head_bias": (5,)}
    return make(chain(*bodies) + tail, weights, inputs=INPUTS, outputs=outputs, infer=False)


def test_the_shared_model_is_recognised_completely(structure: Structure) -> None:
    assert structure.near_misses == ()
    assert Counter(module.kind for module in structure.modules) == {
        Kind.SUBSAMPLING: 1,
        Kind.POSITION_TABLE: 1,
        Kind.FEED_FORWARD: 32,
        Kind.SELF_ATTENTION: 16,
        Kind.CONVOLUTION: 16,
        Kind.NORM: 16,
        Kind.HEAD: 1,
    }
    parts = ["feed_forward1", "self_attn", "conv", "feed_forward2", "norm_out"]
    expected = ["encoder.pre_encode", "encoder.pos_enc"]
    expected += [f"encoder.layers.{i}.{part}" for i in range(16) for part in parts]
    assert [module.id for module in structure.modules] == [*expected, "decoder"]
    assert [len(layer) for layer in structure.layers] == [5] * 16


def test_the_shared_models_sizes(structure: Structure) -> None:
    for module in structure.modules:
        match module.kind:
            case Kind.SELF_ATTENTION:
                attention = module.attention
                assert (attention.heads, attention.head_size) == (4, 44)
                assert attention.position is Position.RELATIVE
                assert len(module.linears) == 5
            case Kind.FEED_FORWARD:
                assert (module.feed_forward.units, module.scale) == (704, 0.5)
                assert module.feed_forward.activation == "silu"
            case Kind.CONVOLUTION:
                details = module.convolution
                assert (details.channels, details.kernel, details.gate_half) == (176, 31, 1)
            case Kind.SUBSAMPLING:
                assert module.subsampling.factor == 4
                assert len(module.convolutions) == 2
            case Kind.HEAD:
                assert [layer.id for layer in module.linears] == ["decoder"]
                assert module.linears[0].out_features == 1025
            case _:
                assert not module.linears
    assert len(structure.linears) == 16 * (2 + 5 + 2 + 2) + 2


def test_names_agree_with_the_exporters_where_it_gives_any(structure: Structure) -> None:
    known = {"linear_q", "linear_k", "linear_v", "linear_pos", "linear_out", "linear1", "linear2"}
    for module in structure.modules:
        if module.layer is not None:
            assert module.scope == module.id
    for layer in structure.linears:
        role = layer.id.rpartition(".")[2]
        if role in known:
            assert layer.scope == layer.id


def test_nodes_belong_to_the_modules_that_the_exporter_says(
    nemo: ir.Model, structure: Structure
) -> None:
    wrong = []
    for node in nemo.graph:
        module = structure.module_of(node)
        path = (node.name or "").split("/")
        if module is None or module.layer is None or "layers" not in (node.name or ""):
            continue
        if path[2] != f"layers.{module.layer}":
            wrong.append((module.id, node.name))
    assert wrong == []
    owned = sum(structure.module_of(node) is not None for node in nemo.graph)
    assert owned > 0.97 * len(nemo.graph)


def test_topology_alone_suffices(nemo: ir.Model, structure: Structure) -> None:
    anonymous = nemo.clone()
    for index, node in enumerate(anonymous.graph):
        node.name = f"n{index}"
        node.metadata_props.clear()
    found = recognise(anonymous)
    assert [m.id for m in found.modules] == [m.id for m in structure.modules]
    assert [layer.id for layer in found.linears] == [layer.id for layer in structure.linears]
    assert all(module.scope == "" for module in found.modules)


def test_the_exported_file_needs_no_simplification(nemo_model: Path, structure: Structure) -> None:
    found = recognise(ir.load(nemo_model))
    assert [m.id for m in found.modules] == [m.id for m in structure.modules]
    assert [layer.id for layer in found.linears] == [layer.id for layer in structure.linears]


def test_stamps(nemo: ir.Model, structure: Structure) -> None:
    model = nemo.clone()
    result = Recognise()(model)
    assert result.modified
    stamps = Counter(node.metadata_props.get(LAYER_KEY) for node in model.graph)
    for layer in structure.linears:
        if layer.id != "decoder":
            assert stamps[layer.id] == len(layer.nodes)
    for module in structure.modules:
        inside = sum(count for name, count in stamps.items() if _is_in(module.id, name))
        assert inside == len(module.nodes)
    again = Recognise()(model)
    assert not again.modified


def _is_in(module: str, stamp: str | None) -> bool:
    return stamp is not None and f"{stamp}.".startswith(f"{module}.")


def test_ids_stay_when_modules_are_removed() -> None:
    model = conformer(*BLOCK, NORM, *BLOCK, NORM)
    Recognise()(model)
    before = recognise(model)
    gone = [m for m in before.modules if m.id.endswith(("0.feed_forward1", "0.norm_out", "1.conv"))]
    for module in gone:
        assert module.input is not None
        module.output.replace_all_uses_with(module.input)
    RemoveUnusedNodesPass()(model)
    after = [module.id for module in recognise(model).modules]
    assert after == [m.id for m in before.modules if m not in gone]


def test_a_head_and_an_outer_norm() -> None:
    tail = "  h = LayerNormalization <axis = -1> (y, g, s)  m = MatMul (h, head)"
    tail += "  a = Add (m, head_bias)  logits = LogSoftmax <axis = -1> (a)"
    model = conformer(*BLOCK, NORM, tail=tail, outputs="float[B,T,5] logits")
    structure = recognise(model)
    assert [m.id for m in structure.modules][-3:] == [
        "encoder.layers.0.norm_out",
        "encoder.norm_out",
        "decoder",
    ]
    head = structure.module("decoder")
    assert head.output.name == "logits"
    assert [layer.id for layer in head.linears] == ["decoder"]
    assert [n.op_type for n in head.nodes] == ["MatMul", "Add", "LogSoftmax"]


def test_a_change_of_width_between_modules_keeps_its_place() -> None:
    change = "  e = MatMul (x, head)  r = Relu (e)  y = MatMul (r, back)\n"
    weights = WEIGHTS | {"head": (D, 5), "back": (5, D)}
    model = make(chain(FEED_FORWARD, change, FEED_FORWARD), weights, infer=False)
    structure = recognise(model)
    kinds = [m.kind for m in structure.modules]
    assert kinds == [Kind.FEED_FORWARD, Kind.OTHER, Kind.FEED_FORWARD]
    assert len(structure.modules[1].linears) == 2
    assert len(structure.modules[2].linears) == 2
    (miss,) = structure.near_misses
    assert "stand on the residual stream itself" in miss.reason


def test_a_skip_connection_around_modules_is_reported() -> None:
    body = chain(FEED_FORWARD, FEED_FORWARD).replace("y = Add", "inner = Add")
    structure = recognise(make(body + "  y = Add (x, inner)", WEIGHTS))
    assert [m.kind for m in structure.modules] == [Kind.FEED_FORWARD] * 2
    (miss,) = structure.near_misses
    assert "a skip connection around 2 modules" in miss.reason


def test_masks_between_modules_belong_to_none() -> None:
    masked = "  y = Where (mask2, low, x)\n"
    body = chain(FEED_FORWARD, masked, FEED_FORWARD)
    model = make(body, WEIGHTS | {"low": 0.0}, inputs=f"float[B,T,{D}] x, bool[B,T,1] mask2")
    structure = recognise(model)
    (where,) = [n for n in model.graph if n.op_type == "Where"]
    assert structure.module_of(where) is None
    assert structure.modules[1].input is where.outputs[0]


def test_shared_nodes_belong_to_none() -> None:
    body = chain(
        replaced(ATTENTION, ("MatMul (pos, wp)", "MatMul (moved, wp)")),
        replaced(ATTENTION, ("MatMul (pos, wp)", "MatMul (moved, wp)")),
    )
    body = "  moved = Mul (pos, root)\n" + body
    model = make(body, WEIGHTS, inputs=INPUTS)
    structure = recognise(model)
    (moved,) = [n for n in model.graph if n.outputs[0].name == "moved"]
    table = structure.module_of(moved)
    assert table is not None
    assert table.kind is Kind.POSITION_TABLE
    assert table.output is moved.outputs[0]


def test_a_plain_network_has_layers_and_a_near_miss() -> None:
    body = "  a = MatMul (x, w1)  b = Add (a, b1)  c = Relu (b)  y = MatMul (c, w2)"
    structure = recognise(make(body, FEED_FORWARD_WEIGHTS))
    assert structure.modules == ()
    assert [layer.out_features for layer in structure.linears] == [UNITS, D]
    assert [layer.id for layer in structure.linears] == ["w1", "w2"]
    (miss,) = structure.near_misses
    assert miss.where == "model"
    assert "there is no residual stream" in miss.reason
    assert "2 linear layers" in miss.reason


def test_names_outside_modules_are_unique() -> None:
    body = "  a = MatMul (x, w)  b = MatMul (a, w)  y = MatMul (b, w)"
    structure = recognise(make(body, {"w": (D, D)}))
    assert [layer.id for layer in structure.linears] == ["w", "w_2", "w_3"]


def test_fused_operators_of_onnx_runtime_are_named() -> None:
    body = "  f = MatMul (x, w)  y = com.microsoft.SkipLayerNormalization (x, f, g, s)"
    model = make(body, {"w": (D, D), "g": (D,), "s": (D,)}, infer=False)
    reasons = [miss.reason for miss in recognise(model).near_misses]
    assert any("SkipLayerNormalization" in r and "take the exported file" in r for r in reasons)


def test_near_misses_are_the_refusals_of_the_pass() -> None:
    model = make("  y = Relu (x)")
    result = Recognise()(model)
    assert [refusal.where for refusal in result.refusals] == ["model"]
    assert not result.modified
    assert layer_of(model.graph[0]) != ""


def test_asking_a_module_for_another_kinds_details() -> None:
    (module,) = recognise(make(FEED_FORWARD, FEED_FORWARD_WEIGHTS)).modules
    with pytest.raises(TypeError, match=r"encoder.layers.0.feed_forward is a module of kind"):
        _ = module.attention
