"""Plans name what goes; what they cannot mean is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.prune import (
    ApplyPlan,
    Keep,
    Moments,
    Plan,
    RepairPlan,
    choose,
    mask_plan,
    plan_template,
    watched_values,
)
from confpress.passes.prune.repair import refit
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.structure import recognise
from confpress.runtime.inputs import synthetic_features

from tests.passes.graphs import difference
from tests.passes.prune.masks import parameters

D, UNITS, KERNEL = 176, 704, 31


@pytest.fixture(scope="module")
def nemo(nemo_model: Path) -> ir.Model:
    model = ir.load(nemo_model)
    Simplify()(model)
    return model


def test_a_plan_is_carried_out_exactly(nemo: ir.Model) -> None:
    plan = Plan.model_validate(
        {
            "encoder.layers.3.self_attn": {"heads": [0, 2]},
            "encoder.layers.5.conv": "drop",
            "encoder.layers.4.feed_forward1": {"units": [1, 2, 703], "of": UNITS},
            "encoder.layers.6.conv": {"channels": [7, 9]},
        }
    )
    model, masked = nemo.clone(), nemo.clone()
    result = ApplyPlan(plan)(model)
    mask_plan(masked, plan)
    head = 44 * (3 * D + 3) + 2 * 44 * D + 2 * 44
    channel = 2 * (D + 1) + KERNEL + 1 + D
    module = D * channel + D + 2 * D
    removed = parameters(nemo) - parameters(model)
    assert removed == 2 * head + 3 * (2 * D + 1) + 2 * channel + module
    assert {change.where for change in result.changes} == set(plan.root)
    frames = synthetic_features(80, 131)[None]
    feeds = {"audio_signal": frames, "length": np.array([131])}
    assert difference(model, masked, feeds) <= 1e-4


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"encoder.layers.3.self_atn": "drop"}, "nearest name is 'encoder.layers.3.self_attn'"),
        ({"encoder.layers.3.self_attn": {"heads": [4]}}, "has 4 heads, 0 to 3; there is no 4"),
        ({"encoder.layers.3.self_attn": {"units": [1]}}, "has heads, not units"),
        ({"encoder.layers.3.conv": {"channels": [1], "of": 512}}, "of 512 channels; it has 176"),
        ({"encoder.layers.3.norm_out": "drop"}, "nothing to prune"),
    ],
)
def test_wrong_plans_are_refused(nemo: ir.Model, plan: dict[str, object], said: str) -> None:
    model = nemo.clone()
    with pytest.raises(ConfpressError, match=said):
        ApplyPlan(Plan.model_validate(plan))(model)
    assert parameters(model) == parameters(nemo)


def test_a_plan_file_with_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"encoder.layers.3.self_attn": {"head": [1]}}', encoding="utf-8")
    with pytest.raises(ConfpressError, match=r"encoder\.layers\.3\.self_attn.*head"):
        Plan.load(path)


def test_the_template_names_everything_and_prunes_nothing(nemo: ir.Model) -> None:
    template = plan_template(recognise(nemo))
    assert len(template.root) == 4 * 16
    again = Plan.model_validate_json(template.to_json())
    assert again == template
    model = nemo.clone()
    assert not ApplyPlan(again)(model).modified


def test_choice_takes_the_least_important_under_the_floor(nemo: ir.Model) -> None:
    structure = recognise(nemo)
    random = np.random.default_rng(0)
    moments = {}
    for module in watched_values(structure):
        width = UNITS if "feed_forward" in module else D
        scale = random.random(width) ** 4
        moments[module] = Moments(np.zeros(width), np.diag(scale))
    plan = choose(structure, moments, Keep(units=0.7, heads=1.0, channels=1.0, floor=0.5))
    gone = {name: cut.units for name, cut in plan.root.items() if cut != "drop"}
    assert set(gone) <= {m for m in moments if "feed_forward" in m}
    total = sum(map(len, gone.values()))
    assert abs(total - 0.3 * 32 * UNITS) <= 1
    assert max(map(len, gone.values())) <= UNITS // 2


def test_choice_takes_the_whole_share(nemo: ir.Model) -> None:
    structure = recognise(nemo)
    attention = [module for module in watched_values(structure) if "attn" in module][:5]
    moments = {module: Moments(np.zeros(D), np.eye(D)) for module in attention}
    plan = choose(structure, moments, Keep(heads=0.9))
    assert sum(len(cut.heads) for cut in plan.root.values() if cut != "drop") == 2


def test_repair_solves_least_squares() -> None:
    """Against numpy's own solver on the data; features that go are combinations of others."""
    random = np.random.default_rng(0)
    base = random.standard_normal((500, 6)) + 0.3
    data = np.hstack([base, base @ random.standard_normal((6, 4))])
    weight = random.standard_normal((10, 3))
    stays = np.arange(10) < 7
    fit = refit(weight, Moments(data.mean(0), data.T @ data / 500), stays, ridge=1e-9)
    target = data @ weight
    found = data @ fit.weight + fit.shift
    assert np.abs(found - target).max() < 1e-3
    assert fit.error < 1e-6 < fit.unrepaired
    assert not fit.weight[~stays].any()


def test_repair_and_plan_together(nemo: ir.Model) -> None:
    model = nemo.clone()
    plan = Plan.model_validate({"encoder.layers.4.feed_forward1": {"units": list(range(10))}})
    moments = {"encoder.layers.4.feed_forward1": Moments(np.zeros(UNITS), np.eye(UNITS))}
    result = RepairPlan(plan, moments)(model)
    assert "10 units fewer" in result.changes[0].what
    before = parameters(model)
    ApplyPlan(plan)(model)
    assert before - parameters(model) >= 10 * (2 * D + 1)
