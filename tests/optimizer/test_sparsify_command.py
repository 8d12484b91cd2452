"""``confpress sparsify`` on the tiny model: zeros by magnitude and by measured inputs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.linear import matmul_layers
from confpress.passes.operators.activated import activation_of
from confpress.passes.operators.linear_layers import FLOAT
from confpress.passes.rewrite import constant
from confpress.runtime.costs.linear import CostTable

from .conftest import Confpress


def weights_of(path: Path) -> dict[str, np.ndarray]:
    """Weights [N, K] of the linear layers, by layer id."""
    layers = matmul_layers(ir.load(path).graph)
    return {layer.id: constant(layer.weight).T for layer in layers}


def most_of(weight: np.ndarray, span: int = 16) -> int:
    """The most non-zeros that any so many neighbouring weights of a row hold."""
    n, k = weight.shape
    spans = np.pad(weight, ((0, 0), (0, -k % span))).reshape(n, -1, span)
    return int(np.count_nonzero(spans, axis=2).max())


def test_zeros_are_set_in_the_patterns_that_were_asked_for(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path
) -> None:
    output = tmp_path / "sparse.onnx"
    common = ("sparsify", tiny_ctc, "-o", output, "--least-energy", "0")
    done = confpress(*common, "--pattern", "4:16")
    assert done.status == 0, done.err
    found = weights_of(output)
    assert len(found) > 1
    assert {most_of(weight) for weight in found.values()} == {4}
    first, *_, last = found
    done = confpress(*common, "--layer", first, "2:16", "--exclude", last)
    assert done.status == 0, done.err
    found = weights_of(output)
    assert most_of(found[first]) == 2
    assert (found[last] != 0).all()


def test_columns_that_matter_keep_more(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path
) -> None:
    model = ir.load(tiny_ctc)
    weights = {layer.weight for layer in matmul_layers(model.graph)}
    for weight in weights:
        array = constant(weight)
        assert array is not None
        scaled = array * np.where(np.arange(len(array)) < 16, 9, 1)[:, None]
        weight.const_value = ir.tensor(scaled.astype(np.float32), name=weight.name)
    ir.save(model, tmp_path / "scaled.onnx")
    command = ("sparsify", tmp_path / "scaled.onnx", "-o", tmp_path / "sparse.onnx")
    done = confpress(*command, "--least-energy", "0", "--counts", "energy")
    assert done.status == 0, done.err
    for weight in weights_of(tmp_path / "sparse.onnx").values():
        if weight.shape[1] > 64:
            assert (np.count_nonzero(weight[:, :16], axis=1) == 16).all()
        assert np.count_nonzero(weight) <= weight.shape[0] * 4 * -(-weight.shape[1] // 16)


@pytest.mark.parametrize(("instructions", "span"), [("avx512vbmi", 64), ("any", 16)])
def test_a_share_of_zeros_suits_the_instruction_set(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path, instructions: str, span: int
) -> None:
    output = tmp_path / "sparse.onnx"
    options = ("--least-energy", "0", "--pattern", "75%", "--instructions", instructions)
    done = confpress("sparsify", tiny_ctc, "-o", output, *options)
    assert done.status == 0, done.err
    found = weights_of(output).values()
    assert {most_of(weight, span) for weight in found if weight.shape[1] >= span} == {span // 4}
    assert (max(most_of(weight) for weight in found) == 4) == (span == 16)


def test_measured_times_go_into_a_table_and_come_from_it(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path
) -> None:
    sparse, qdq, table = (tmp_path / name for name in ("s.onnx", "q.onnx", "costs.json"))
    assert confpress("sparsify", tiny_ctc, "-o", sparse, "--least-energy", "0").status == 0
    assert confpress("quantize", sparse, "-o", qdq, "--convolution", "float32").status == 0
    lower = ("lower", qdq, "-o", tmp_path / "cpu.onnx", "--cost-table", table, "--target")
    done = confpress(*lower, "cpu")
    assert done.status == 0, done.err
    measured = CostTable.model_validate_json(table.read_text())
    assert {each.form for each in measured.layers} == {"dense", "4:16"}
    assert all(each.microseconds > 0 for each in measured.layers)
    for form, operator in (("dense", "QuantLinear"), ("4:16", "SparseLinear")):
        layers = tuple(
            each.model_copy(update={"microseconds": 1.0 if each.form == form else 9.0})
            for each in measured.layers
        )
        table.write_text(measured.model_copy(update={"layers": layers}).model_dump_json())
        assert confpress(*lower, "cpu").status == 0
        graph = ir.load(tmp_path / "cpu.onnx").graph
        # Layers that stay in float32 are not in the table.
        found = {node.op_type for node in graph if node.domain} - FLOAT
        assert found
        assert found <= activation_of(operator).keys()
    table.write_text(measured.model_copy(update={"cpu": "another"}).model_dump_json())
    done = confpress(*lower, "cpu")
    assert done.status == 1
    assert "was measured with cpu another" in " ".join(done.err.split())
    assert "goes with --target cpu" in confpress(*lower, "portable").err


def test_speech_decides_what_stays(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, tmp_path: Path
) -> None:
    plain, heard = tmp_path / "plain.onnx", tmp_path / "heard.onnx"
    common = ("--least-energy", "0")
    assert confpress("sparsify", tiny_ctc, "-o", plain, *common).status == 0
    done = confpress("sparsify", tiny_ctc, "-o", heard, *common, "--calibration", speech_folder)
    assert done.status == 0, done.err
    by_magnitude, by_speech = weights_of(plain), weights_of(heard)
    assert by_magnitude.keys() == by_speech.keys()
    assert any(((by_magnitude[name] != 0) != (by_speech[name] != 0)).any() for name in by_magnitude)


def test_speech_mends_what_stays(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, tmp_path: Path
) -> None:
    plain, mended = tmp_path / "plain.onnx", tmp_path / "mended.onnx"
    common = ("--least-energy", "0", "--calibration", speech_folder)
    done = confpress("sparsify", tiny_ctc, "-o", plain, *common, "--no-repair")
    assert done.status == 0, done.err
    record = tmp_path / "record.json"
    done = confpress("sparsify", tiny_ctc, "-o", mended, *common, "--json", record)
    assert done.status == 0, done.err
    before, after = weights_of(plain), weights_of(mended)
    changed = []
    for name, weight in before.items():
        assert most_of(after[name]) == most_of(weight) == 4
        both = (weight != 0) & (after[name] != 0)
        changed.append(not np.isclose(after[name][both], weight[both]).all())
    # The small layer is no candidate for codes, and is not measured.
    assert changed == [True, False]
    wrong = re.findall(r"([0-9.]+) % are wrong \(([0-9.]+) % before\)", record.read_text())
    assert wrong
    assert all(float(now) <= float(then) for now, then in wrong)
