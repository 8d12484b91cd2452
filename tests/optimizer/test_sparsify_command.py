"""``confpress sparsify`` on the tiny model: zeros by magnitude and by measured inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from confpress.passes.linear import matmul_layers
from confpress.passes.rewrite import constant

from .conftest import Confpress


def weights_of(path: Path) -> dict[str, np.ndarray]:
    """Weights [N, K] of the linear layers, by layer id."""
    layers = matmul_layers(ir.load(path).graph)
    return {layer.id: constant(layer.weight).T for layer in layers}


def most_of_16(weight: np.ndarray) -> int:
    """The most non-zeros that any 16 neighbouring weights of a row hold."""
    n, k = weight.shape
    spans = np.pad(weight, ((0, 0), (0, -k % 16))).reshape(n, -1, 16)
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
    assert {most_of_16(weight) for weight in found.values()} == {4}
    first, *_, last = found
    done = confpress(*common, "--layer", first, "2:16", "--exclude", last)
    assert done.status == 0, done.err
    found = weights_of(output)
    assert most_of_16(found[first]) == 2
    assert (found[last] != 0).all()


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
