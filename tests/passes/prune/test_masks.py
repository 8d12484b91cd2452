"""What masks leave behind goes, exactly, in every exporter's spelling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from confpress.passes.prune import RemovePruned
from confpress.passes.rewrites.simplify import Simplify
from confpress.runtime.inputs import synthetic_features

from tests.passes.graphs import Arrays, difference
from tests.passes.prune.exports import ARCHITECTURES, Exporter, export, feeds
from tests.passes.prune.masks import (
    VARIANTS,
    Variant,
    channels,
    channels_with_constants,
    parameters,
)

#: Outputs of these networks are of the order of one.
TOLERANCE = 1e-4
#: A LayerNormalization over the channels stands behind the depthwise convolution.
NORMALISED_CHANNELS = ("wav2vec2_bert", "seamless_m4t_v2")

Load = Callable[[str, Exporter], ir.Model]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Exports every architecture once; tests get copies."""
    models: dict[tuple[str, Exporter], ir.Model] = {}

    def get(name: str, exporter: Exporter) -> ir.Model:
        if (name, exporter) not in models:
            path = tmp_path_factory.mktemp("export") / f"{name}.onnx"
            model = export(name, exporter, path)
            RemovePruned()(model)
            models[name, exporter] = model
        return models[name, exporter].clone()

    return get


def check(model: ir.Model, variant: Variant, given: list[Arrays]) -> None:
    """Masks a model, removes what is masked, and compares parameters and outputs."""
    before = parameters(model)
    expected = variant(model)
    original = model.clone()
    RemovePruned()(model)
    assert before - parameters(model) == expected
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for each in given:
        assert difference(model, original, each) <= TOLERANCE


def everything(model: ir.Model) -> int:
    """All masks in one model but those that take a whole module away from another mask."""
    names = (
        "units_masked_after_activation", "units_zero_on_both_sides",
        "units_zero_in_the_second_layer", "some_heads", "values_of_heads",
        "channels", "channels_with_constants",
    )  # fmt: skip
    return sum(variant(model) for variant in VARIANTS if variant.__name__ in names)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", ["parakeet", "wav2vec2_conformer_relative"])
def test_masked_parts_go(load: Load, name: str, variant: Variant) -> None:
    check(load(name, "ts17"), variant, list(feeds(name)))


@pytest.mark.evidence
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("exporter", ["ts17", "ts14", "dynamo"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_masked_parts_go_everywhere(
    load: Load, name: str, exporter: Exporter, variant: Variant
) -> None:
    if name in NORMALISED_CHANNELS and variant in (channels, channels_with_constants):
        pytest.skip("a norm over the channels needs all of them; see the refusal's test")
    check(load(name, exporter), variant, list(feeds(name)))


def test_channels_under_a_norm_are_refused(load: Load) -> None:
    model = load("wav2vec2_bert", "ts17")
    channels(model)
    result = RemovePruned()(model)
    assert [r.where for r in result.refusals] == ["encoder.layers.0.conv"]
    assert "LayerNormalization" in result.refusals[0].reason


@pytest.mark.parametrize("name", ["parakeet", "wav2vec2_bert"])
def test_unpruned_models_stay(load: Load, name: str) -> None:
    model = load(name, "ts17")
    original = model.clone()
    result = RemovePruned()(model)
    assert not result.modified
    assert parameters(model) == parameters(original)
    assert all(difference(model, original, each) == 0 for each in feeds(name))


@pytest.fixture(scope="module")
def nemo(nemo_model: Path) -> ir.Model:
    model = ir.load(nemo_model)
    Simplify()(model)
    return model


def speech(batch: int, frames: int) -> Arrays:
    """Features as real speech has them: noise without correlations makes deep models unstable."""
    rows = [synthetic_features(80, frames, seed=seed) for seed in range(batch)]
    return {
        "audio_signal": np.stack(rows),
        "length": np.linspace(frames, frames // 2, batch).astype(np.int64),
    }


def test_a_real_model_with_every_mask(nemo: ir.Model) -> None:
    check(nemo.clone(), everything, [speech(1, 160), speech(2, 97)])


@pytest.mark.evidence
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: each.__name__)
def test_a_real_model_with_each_mask(nemo: ir.Model, variant: Variant) -> None:
    check(nemo.clone(), variant, [speech(1, 160), speech(2, 97)])


def test_a_real_model_without_masks_stays(nemo: ir.Model) -> None:
    model = nemo.clone()
    assert not RemovePruned()(model).modified
    assert len(model.graph) == len(nemo.graph)
