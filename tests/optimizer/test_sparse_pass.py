"""Zeros in the pipeline, set by what calibration speech says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from confpress import optimize
from confpress.optimizer.recipe.recipe import Recipe, load_recipe
from confpress.passes.errors import ConfpressError
from confpress.passes.linear import matmul_layers
from confpress.runtime.calibration.second_moments import SecondMoments, groups
from confpress.runtime.inputs import SpeechSource
from confpress.runtime.speech import FrontEnd

from tests.passes.graphs import two_layers


@pytest.fixture
def recipe(fast_recipe: Path) -> Recipe:
    return load_recipe(fast_recipe).replace({"bench": {"enabled": False}})


REPAIRED = {"sparsify": {"pattern": "4:16", "repair": True, "least_energy": 0.0}}


def test_moments_are_those_of_the_model_as_it_was() -> None:
    model = two_layers()
    layers = list(matmul_layers(model.graph))
    features = SpeechSource(FrontEnd()).batch(120, 3, ragged=True)
    at_once, one_by_one = (SecondMoments(model, layers, features, most) for most in (2**20, 1))
    assert list(at_once) == list(one_by_one) == ["x", "r"]
    frames = np.concatenate(features, axis=1)
    assert np.allclose(at_once["x"], frames @ frames.T / frames.shape[1], rtol=1e-3, atol=1e-3)
    expected = at_once["r"]
    # What happens to the model later is not heard.
    layers[0].node.replace_input_with(1, layers[1].weight)
    assert np.allclose(one_by_one["r"], expected)
    with pytest.raises(KeyError):
        at_once["logprobs"]


def test_groups_have_room() -> None:
    layers = list(matmul_layers(two_layers().graph))
    assert [len(group) for group in groups(layers)] == [2]
    assert [len(group) for group in groups(layers, 8 * 80**2)] == [1, 1]
    assert groups([]) == []


def test_a_repair_needs_speech(tiny_ctc: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match=r"sparsify.repair.* needs calibration speech"):
        optimize(tiny_ctc, recipe.replace(REPAIRED), output=tmp_path / "out")


def test_zeros_by_speech_are_made_again_by_the_same_speech(
    tiny_ctc: Path, speech_folder: Path, other_speech: Path, recipe: Recipe, tmp_path: Path
) -> None:
    wanted = recipe.replace({**REPAIRED, "lower": {"targets": ("portable",)}})
    first = optimize(tiny_ctc, wanted, output=tmp_path / "one", calibration=speech_folder)
    (stage,) = (stage for stage in first.report.stages if stage.name == "sparsify")
    assert "are wrong" in stage.changes[0].what
    decisions = first.folder / "decisions.json"
    again = optimize(
        tiny_ctc, wanted, output=tmp_path / "two", calibration=speech_folder, decisions=decisions
    )
    one, two = (each.folder / "portable" / "model.onnx" for each in (first, again))
    assert one.read_bytes() == two.read_bytes()
    with pytest.raises(ConfpressError, match=r"zeros of .* were chosen on other speech"):
        optimize(
            tiny_ctc,
            wanted,
            output=tmp_path / "three",
            calibration=other_speech,
            decisions=decisions,
        )
    with pytest.raises(ConfpressError, match="set ranges or formats of the model"):
        optimize(
            tiny_ctc, wanted, output=tmp_path / "four", calibration=other_speech,
            validation=speech_folder, decisions=decisions,
        )  # fmt: skip
