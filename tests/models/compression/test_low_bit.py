from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.compression import bake  # noqa: E402
from confpress.models.compression.low_bit import LowBit, LowBitConfig  # noqa: E402
from confpress.models.compression.sparsity import BalancedSparsity, SparsityConfig  # noqa: E402
from confpress.passes.formats.integer import INT4  # noqa: E402
from confpress.passes.formats.matrix import quantize_matrix  # noqa: E402
from confpress.passes.formats.scheme import Scheme  # noqa: E402


def _rounded(model: torch.nn.Module, **options: object) -> torch.nn.Module:
    LowBit(LowBitConfig(**options)).attach(model)
    return model


@pytest.mark.parametrize("block", [0, 16, 32])
def test_a_weight_has_as_many_values_as_its_bits_allow(block: int) -> None:
    torch.manual_seed(0)
    layer = _rounded(torch.nn.Linear(72, 5), bits=3, block=block)
    weight = layer.weight.detach()
    for row in weight:
        for start in range(0, 72, block or 72):
            group = row[start : start + (block or 72)]
            steps = group / (group.abs().max() / 3)
            torch.testing.assert_close(steps, steps.round(), atol=2e-3, rtol=0)
            assert steps.round().abs().max() == 3


def test_gradients_pass_through_the_rounding() -> None:
    layer = _rounded(torch.nn.Linear(32, 4, bias=False))
    inputs = torch.randn(6, 32)
    layer(inputs).sum().backward()
    gradient = layer.parametrizations.weight.original.grad
    torch.testing.assert_close(gradient, inputs.sum(0).expand(4, 32))


def test_a_block_of_zeros_stays_zero() -> None:
    layer = torch.nn.Linear(64, 4)
    with torch.no_grad():
        layer.weight[:, :32] = 0
    assert torch.equal(_rounded(layer).weight[:, :32], torch.zeros(4, 32))


def test_pointwise_convolutions_are_rounded_and_others_are_not() -> None:
    model = torch.nn.Sequential(torch.nn.Conv1d(32, 4, 1), torch.nn.Conv1d(32, 4, 3))
    before = [each.weight.detach().clone() for each in model]
    _rounded(model)
    assert not torch.equal(model[0].weight, before[0])
    assert torch.equal(model[1].weight, before[1])


def test_largest_weights_are_clipped_where_the_others_gain() -> None:
    torch.manual_seed(2)
    layer = torch.nn.Linear(64, 8)
    exact = layer.weight.detach().clone()
    # In the first half nothing stands out: half of the weights are the largest.
    exact[:, :32] = exact[:, :32].sign()
    with torch.no_grad():
        layer.weight.copy_(exact)
    method = LowBit(LowBitConfig(bits=3))
    method.attach(layer)
    unclipped = layer.weight.detach().clone()
    method.advance(0.0)
    clipped = layer.weight.detach()
    assert torch.equal(clipped[:, :32], unclipped[:, :32])
    errors = [(each - exact).square().sum(1) for each in (clipped, unclipped)]
    assert (errors[0] <= errors[1]).all()
    assert errors[0].sum() < 0.95 * errors[1].sum()


def test_clipping_is_searched_as_often_as_asked() -> None:
    layer = torch.nn.Linear(32, 4)
    method = LowBit(LowBitConfig(searches=2))
    method.attach(layer)
    ((_, rounding),) = method._roundings
    searched = []
    for done in (0.0, 0.3, 0.5, 0.8, 1.0):
        rounding.factors.fill_(7)
        assert not method.advance(done)
        searched.append(bool((rounding.factors != 7).all()))
    assert searched == [True, False, True, False, True]


def test_clipping_sees_what_other_methods_left() -> None:
    layer = torch.nn.Linear(32, 4)
    with torch.no_grad():
        layer.weight[:, 0] = 100.0
    methods = BalancedSparsity(SparsityConfig(pattern="31:32")), LowBit(LowBitConfig())
    for method in methods:
        method.attach(layer)
    methods[0]._layers[0].mask.mask[:, 0] = False
    methods[1].advance(0.0)
    assert layer.weight.abs().max() < 1
    assert (layer.weight[:, 1:] != 0).any(1).all()


@pytest.mark.parametrize("block", [16, 32])
def test_what_was_trained_in_codes_is_quantised_without_error(block: int) -> None:
    torch.manual_seed(1)
    layer = torch.nn.Linear(96, 7)
    method = LowBit(LowBitConfig(bits=4, block=block))
    method.attach(layer)
    method.advance(0.0)
    assert (method._roundings[0][1].factors < 1).any()
    bake(layer)
    weight = layer.weight.detach().numpy().T.copy()
    scheme = Scheme(INT4, granularity="block", block=block, method="mse", scale_type="float16")
    assert np.array_equal(quantize_matrix(weight, scheme).dequantized(), weight)
