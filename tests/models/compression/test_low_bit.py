from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.compression import bake  # noqa: E402
from confpress.models.compression.low_bit import LowBit, LowBitConfig  # noqa: E402
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


@pytest.mark.parametrize("block", [16, 32])
def test_what_was_trained_in_codes_is_quantised_without_error(block: int) -> None:
    torch.manual_seed(1)
    layer = _rounded(torch.nn.Linear(96, 7), bits=4, block=block)
    bake(layer)
    weight = layer.weight.detach().numpy().T.copy()
    scheme = Scheme(INT4, granularity="block", block=block, method="mse", scale_type="float16")
    assert np.array_equal(quantize_matrix(weight, scheme).dequantized(), weight)
