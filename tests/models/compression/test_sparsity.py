from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.compression import bake  # noqa: E402
from confpress.models.compression.layers import input_rows, rows_of  # noqa: E402
from confpress.models.compression.sparsity import (  # noqa: E402
    BalancedSparsity,
    SparsityConfig,
    spans,
)
from pydantic import ValidationError  # noqa: E402


def _model() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(40, 8), torch.nn.Conv1d(8, 6, 1))


def _sparse(model: torch.nn.Module, pattern: str = "4:16", done: float = 1.0) -> BalancedSparsity:
    method = BalancedSparsity(SparsityConfig(pattern=pattern, exclude=()))
    method.attach(model)
    method.advance(done)
    return method


def test_every_span_of_a_row_keeps_its_largest_weights() -> None:
    model = _model()
    before = model[0].weight.detach().clone()
    _sparse(model)
    after = model[0].weight.detach()
    for row, was in zip(after, before, strict=True):
        for start in (0, 16, 32):
            span, all_of_it = row[start : start + 16], was[start : start + 16].abs()
            kept = torch.sort(all_of_it.topk(4).indices).values
            assert torch.equal(span.nonzero().flatten(), kept)
            assert torch.allclose(span[kept].abs(), all_of_it[kept])


def test_inputs_that_are_louder_keep_their_weights() -> None:
    model = _model()
    with torch.no_grad():
        model[0].weight[:, 5] = 0.01
    method = BalancedSparsity(SparsityConfig(exclude=()))
    method.attach(model)
    model.train()
    inputs = torch.randn(64, 40)
    inputs[:, 5] = 1000.0
    model[0](inputs)
    method.advance(1.0)
    assert model[0].weight[:, 5].count_nonzero() == 8


def test_inputs_are_not_watched_in_evaluation() -> None:
    model = _model()
    method = BalancedSparsity(SparsityConfig(exclude=()))
    method.attach(model)
    model.eval()
    model[0](1000 * torch.ones(4, 40))
    assert torch.equal(method._layers[0].moments, torch.eye(40))


def test_moments_are_exact_where_products_are_rounded() -> None:
    model = _model()
    method = BalancedSparsity(SparsityConfig(exclude=()))
    method.attach(model)
    inputs = torch.randn(64, 40)
    with torch.autocast("cpu", torch.bfloat16):
        model[0](inputs)
    expected = torch.eye(40).lerp(inputs.T @ inputs / 64, 0.05)
    assert torch.allclose(method._layers[0].moments, expected, atol=1e-5)


def test_moments_of_convolutions_are_those_of_what_their_rows_meet() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 5, (3, 2), stride=2, padding=1)
    read = torch.randn(2, 3, 9, 8)
    rows = input_rows(layer, read, 1000)
    products = rows @ rows_of(layer.weight).flatten(1).T + layer.bias
    expected = layer(read).permute(0, 2, 3, 1).flatten(0, 2)
    assert torch.allclose(products, expected, atol=1e-5)


def test_zeros_come_step_by_step_and_never_go_back() -> None:
    model = _model()
    method = BalancedSparsity(SparsityConfig(reached=0.5, exclude=()))
    method.attach(model)
    counts = []
    for done in (0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.5, 0.4, 0.9):
        method.advance(done)
        counts.append(int(model[0].weight[0, :16].count_nonzero()))
        assert method.settled == (done >= 0.5 or counts[-1] == 4)
    assert counts[0] == 16
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 4
    assert len(set(counts)) > 4


def test_a_jump_is_told_once() -> None:
    method = BalancedSparsity(SparsityConfig(exclude=()))
    method.attach(_model())
    assert method.advance(0.6)
    assert not method.advance(0.7)


def test_a_weight_that_was_left_out_may_come_back() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(16, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0] * 8 + [0.001] + [0.002] * 7))
    method = BalancedSparsity(SparsityConfig(pattern="1:16", exclude=()))
    method.attach(model)
    method.advance(0.1)
    layer = method._layers[0]
    assert not layer.mask.mask[0, 8]
    # One input is the sum of those that count: its weight can stand for all of theirs.
    reads = torch.eye(16)
    reads[8, :8], reads[8, 8] = 1.0, 0.0
    layer.moments.copy_(reads @ reads.T)
    method.advance(0.6)
    assert layer.mask.mask[0].nonzero().flatten().tolist() == [8]
    assert model[0].weight[0, 8].item() == pytest.approx(1.0, rel=0.02)


def test_convolutions_are_sparse_as_their_kernels_read_them() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(16, 4, 3))
    _sparse(model)
    weight = model[0].weight.detach()
    # Of one tap over time: the channels of a tap over frequency are neighbours.
    for output in range(4):
        for frame in range(3):
            for band in range(3):
                assert weight[output, :, frame, band].count_nonzero() == 4


def test_depthwise_and_first_convolutions_stay_dense() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.Conv1d(8, 8, 3)
    )
    assert not _sparse(model)._layers


def test_excluded_layers_stay_dense() -> None:
    model = _model()
    method = BalancedSparsity(SparsityConfig(exclude=("1",)))
    method.attach(model)
    method.advance(1.0)
    assert model[0].weight.count_nonzero() < model[0].weight.numel()
    assert model[1].weight.count_nonzero() == model[1].weight.numel()


def test_baked_zeros_are_the_weights_own() -> None:
    model = _model()
    _sparse(model)
    inputs = torch.randn(3, 40)
    expected = model[0](inputs)
    bake(model)
    assert set(dict(model.named_parameters())) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert model[0].weight.count_nonzero(dim=1).tolist() == [12] * 8
    assert torch.equal(model[0](inputs), expected)


def test_weights_left_out_get_no_gradient() -> None:
    model = _model()
    _sparse(model)
    model[0](torch.randn(3, 40)).sum().backward()
    gradient = model[0].parametrizations.weight.original.grad
    assert torch.equal(gradient != 0, model[0].weight != 0)


@pytest.mark.parametrize("pattern", ["4", "0:4", "4:4", "a:b", "-1:4", "4:16:2", ""])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match=f'"{pattern}" is no pattern N:M'):
        SparsityConfig(pattern=pattern)


def test_a_pattern_is_read() -> None:
    assert spans("16:64") == (16, 64)
