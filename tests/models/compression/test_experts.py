from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.compression.experts import Experts, ExpertsConfig  # noqa: E402
from confpress.models.compression.layers import linear_layers  # noqa: E402
from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.models.experts import ExpertGate  # noqa: E402
from confpress.passes.errors import ConfpressError  # noqa: E402


def _model(**options: int) -> ConformerCTC:
    torch.manual_seed(0)
    shape = {"vocabulary": 5, "d_model": 16, "layers": 2, "ff_dim": 32, "kernel": 3}
    return ConformerCTC(ConformerConfig(subsampling_channels=8, dropout=0.0, **(shape | options)))


def _with_experts(done: float, **options: float) -> tuple[ConformerCTC, ConformerCTC, Experts]:
    """A model as it was and with experts, and what made them, at a moment of the run."""
    before = _model()
    model = copy.deepcopy(before)
    method = Experts(ExpertsConfig(**options))
    method.attach(model)
    method.advance(done)
    return before, model, method


def test_at_first_the_model_is_as_it_was() -> None:
    before, model, _ = _with_experts(0.0, first_temperature=1e6)
    x = torch.randn(2, 7, 16)
    for was, block in zip(before.encoder.layers, model.encoder.layers, strict=True):
        torch.testing.assert_close(block.feed_forward1(x), was.feed_forward1(x), atol=1e-4, rtol=0)


def test_gates_become_sparse_as_they_cool() -> None:
    sparse = []
    for done in (0.0, 0.25, 0.49, 0.5, 1.0):
        _, model, method = _with_experts(done, experts=4)
        gate = model.encoder.layers[0].feed_forward1.gate
        with torch.no_grad():
            gate.weight.normal_(0, 1)
        factors = gate(torch.randn(500, 16))
        assert factors.amax(-1).tolist() == pytest.approx([1.0] * 500)
        sparse.append((factors == 0).float().mean().item())
        assert method.settled == (done >= 0.5)
    assert sparse == sorted(sparse)
    assert sparse[0] == 0
    assert sparse[-1] == 0.75


def test_served_frames_go_through_the_expert_of_the_highest_score() -> None:
    _, model, _ = _with_experts(1.0, experts=2)
    module = model.eval().encoder.layers[1].feed_forward2
    with torch.no_grad():
        module.gate.weight.normal_()
    x = torch.randn(3, 9, 16)
    taken = (x @ module.gate.weight.T).argmax(-1)
    assert 0 < taken.float().mean() < 1
    outputs = []
    for half in (slice(0, 16), slice(16, 32)):
        hidden = torch.nn.functional.silu(
            x @ module.linear1.weight[half].T + module.linear1.bias[half]
        )
        outputs.append(hidden @ module.linear2.weight[:, half].T + module.linear2.bias)
    expected = torch.where(taken[..., None] == 0, *outputs)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("done", [0.1, 0.9])
def test_gates_learn_before_and_after_they_take_one(done: float) -> None:
    _, model, _ = _with_experts(done)
    module = model.encoder.layers[0].feed_forward1
    module(torch.randn(2, 50, 16)).square().sum().backward()
    assert module.gate.weight.grad.abs().max() > 0


def test_units_are_put_in_order_without_a_change() -> None:
    before, model, _ = _with_experts(0.0)
    was, now = (each.encoder.layers[0].feed_forward1 for each in (before, model))
    assert not torch.equal(now.linear1.weight, was.linear1.weight)
    x = torch.randn(2, 5, 16)
    hidden = torch.nn.functional.silu(now.linear1(x))
    torch.testing.assert_close(now.linear2(hidden), was(x))


def test_gates_are_no_layers_to_compress() -> None:
    _, model, _ = _with_experts(0.0)
    assert not any(isinstance(layer, ExpertGate) for layer in linear_layers(model))


def test_the_model_knows_its_experts() -> None:
    _, model, _ = _with_experts(0.0, experts=4)
    assert model.config.experts == 4
    again = ConformerCTC(model.config)
    again.load_state_dict(model.state_dict())


def test_hidden_units_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ConfpressError, match="32 hidden units cannot be divided among 3"):
        Experts(ExpertsConfig(experts=3)).attach(_model())
    with pytest.raises(ConfpressError, match="has experts already"):
        Experts(ExpertsConfig()).attach(_model(experts=2))
