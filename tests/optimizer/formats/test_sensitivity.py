"""From calibration to a choice: inputs, sensitivities and options of a small model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.optimizer.formats.divergence import STEADY
from confpress.optimizer.formats.sensitivity import (
    MIXED,
    PROBE,
    observe_inputs,
    options_of,
    sensitivities,
)
from confpress.passes.format_choice import approximated, eligible_layers
from confpress.passes.rewrite import constant
from confpress.runtime.inputs import synthetic_features
from confpress.runtime.interface import read_interface
from confpress.runtime.model_file import load_model
from confpress.runtime.session import create_session, run_session

FEATURES = [synthetic_features(80, frames, seed=frames) for frames in (60, 81)]


def test_inputs_are_those_of_the_layers(tiny_ctc: Path) -> None:
    model = load_model(tiny_ctc)
    found = observe_inputs(model, FEATURES, rows=16)
    weight = constant(model.graph.initializers["weight1"])
    assert weight is not None
    first = np.concatenate([f.T[::2] for f in FEATURES])
    seen = found[str(next(eligible_layers(model)).input.name)]
    assert seen.mean_square == pytest.approx(np.square(first).mean(axis=0), rel=1e-4)
    assert seen.rows is not None and seen.rows.shape == (16, first.shape[1])
    # Every kept row is one that was there.
    apart = np.abs(seen.rows[:, None] - first[None]).max(axis=-1).min(axis=1)
    assert apart.max() < 1e-4


def test_sensitivity_is_what_quantising_one_layer_does(tiny_ctc: Path) -> None:
    model = load_model(tiny_ctc)
    inputs = observe_inputs(model, FEATURES, rows=16)
    found = sensitivities(model, FEATURES, inputs)
    assert set(found) == {layer.id for layer in eligible_layers(model)}
    layer = next(eligible_layers(model))
    weight = constant(layer.weight)
    assert weight is not None
    changed = model.clone()
    value = changed.graph.initializers[str(layer.weight.name)]
    heed = inputs[str(layer.input.name)].mean_square
    value.const_value = ir.tensor(approximated(weight, PROBE, heed), name=value.name)
    frames: list[float] = []
    sessions = [create_session(each) for each in (model, changed)]
    face = read_interface(model)
    for each in FEATURES:
        p, q = (
            run_session(s, face.feeds([each]), [face.scores])[0].astype(np.float64)
            for s in sessions
        )
        p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (p, q))
        frames.extend((np.exp(p) * (p - q)).sum(-1).reshape(-1))
    steady = sorted(frames)[: int(STEADY * len(frames))]
    assert found[layer.id] == pytest.approx(np.mean(steady), rel=1e-3, abs=1e-9)


def test_options_are_all_candidates(tiny_ctc: Path) -> None:
    model = load_model(tiny_ctc)
    inputs = observe_inputs(model, FEATURES)
    matters = dict.fromkeys((layer.id for layer in eligible_layers(model)), 1.0)
    for each in options_of(model, inputs, matters).values():
        assert [o.form for o in each] == list(MIXED)
        assert each[0].error == 0
        assert each[0].bytes > each[1].bytes == each[2].bytes > each[3].bytes > each[-1].bytes
