"""Time by module: everything is told, sums agree, and fused and lowered models are understood."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
from confpress.passes.structure import recognise
from confpress.passes.structure.summary import summarise
from confpress.runtime.model_file import load_model, save_model
from confpress.runtime.profile.modules import ModuleProfile, profile_modules
from confpress.runtime.profile.peak import measure_peak
from confpress.runtime.recognition.asr import AsrModel


def check_sums(found: ModuleProfile) -> None:
    nodes = sum(node.ms for node in found.whole.nodes)
    assert sum(m.ms for m in found.modules) + found.unattributed_ms == pytest.approx(nodes)
    for merged in (found.by_kind(), found.by_layer()):
        assert sum(m.ms for m in merged) == pytest.approx(sum(m.ms for m in found.modules))
        assert sum(m.macs for m in merged) == sum(m.macs for m in found.modules)
    for module in found.modules:
        assert sum(module.operators.values()) == pytest.approx(module.ms)


def test_every_node_of_the_real_model_finds_its_module(nemo_model: Path) -> None:
    found = profile_modules(AsrModel.load(nemo_model), seconds=3.0, runs=2)
    check_sums(found)
    assert found.unattributed_ms == 0
    share = {m.kind: m.share for m in found.by_kind()}
    # ONNX Runtime fuses and renames all of these; what no module owns alone is masks and sizes.
    assert share["self_attention"] > 0.2
    assert share["feed_forward"] > 0.1
    assert share["subsampling"] > 0.05
    assert share["shared"] < 0.05
    assert [m.layer for m in found.by_layer() if m.layer is not None] == list(range(16))
    model = load_model(nemo_model)
    counted = summarise(model, recognise(model), 300).macs
    assert sum(m.macs for m in found.modules) == counted
    assert all(m.limit_ms > 0 for m in found.modules if m.macs)


def test_nodes_without_names_are_told_apart(tmp_path: Path, tiny_ctc: Path) -> None:
    model: ir.Model = load_model(tiny_ctc)
    for node in model.graph:
        node.name = None
    save_model(model, tmp_path / "nameless.onnx")
    found = profile_modules(AsrModel.load(tmp_path / "nameless.onnx"), seconds=2.0, runs=2)
    check_sums(found)
    assert found.whole.nodes
    assert found.whole.model == str(tmp_path / "nameless.onnx")
    assert ModuleProfile.model_validate_json(found.model_dump_json()) == found


def test_the_peak_is_that_of_a_processor() -> None:
    peak = measure_peak()
    assert 1e8 < peak.float32 < 1e13
    assert 1e8 < peak.int8 < 1e13
