from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.compression import Compression, bake  # noqa: E402
from confpress.models.compression.gates import Gate, GateConfig, Gates  # noqa: E402
from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.models.export import export_onnx  # noqa: E402
from confpress.passes.base import run  # noqa: E402
from confpress.passes.prune import RemovePruned  # noqa: E402
from confpress.passes.rewrites.simplify import Simplify  # noqa: E402
from confpress.passes.structure import Recognise  # noqa: E402
from confpress.runtime.session import create_session  # noqa: E402


def _model() -> ConformerCTC:
    torch.manual_seed(0)
    shape = {"features": 16, "layers": 2, "heads": 4, "ff_dim": 24, "kernel": 5, "dropout": 0.0}
    config = ConformerConfig(vocabulary=4, d_model=16, subsampling_channels=4, **shape)
    return ConformerCTC(config).eval()


def _gated(model: ConformerCTC, **options: object) -> Gates:
    method = Gates(GateConfig(**options))
    method.attach(model)
    return method


def _kept(method: Gates) -> int:
    """Parameters whose masks are fixed above zero."""
    fixed = ((gate.values, gate.size) for gate in method._gates)
    return sum(int(v[:-1].count_nonzero()) * size for v, size in fixed if v[-1])


def _inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 16, 60), torch.tensor([60, 44])


def test_masks_begin_open() -> None:
    model = _model()
    inputs = _inputs()
    expected = model(*inputs)[0]
    method = _gated(model)
    torch.testing.assert_close(model(*inputs)[0], expected)
    assert method.expected_share() > 0.95


def test_a_part_counts_the_parameters_that_go_with_it() -> None:
    model = _model()
    block = model.encoder.layers[0]
    modules = (block.feed_forward1, block.feed_forward2, block.self_attn, block.conv)
    parameters = sum(p.numel() for module in modules for p in module.parameters())
    method = _gated(model)
    # Units of both feed-forward modules, heads, channels.
    assert [gate.size for gate in method._gates[:4]] == [33, 33, 4 * (5 * 16 + 5), 3 * 16 + 2 + 8]
    # What no part has to itself: the biases of the last layers.
    assert method._whole // 2 == parameters - 4 * 16


def test_masks_are_drawn_once_a_step() -> None:
    gate = Gate(50, 1, whole=True)
    gate.train()
    gate.draw()
    first = gate.masks()
    assert torch.equal(gate.masks(), first)
    gate.draw()
    assert not torch.equal(gate.masks(), first)
    gate.eval()
    assert not gate.masks().equal(first)


def test_probabilities_are_those_of_the_samples() -> None:
    torch.manual_seed(0)
    gate = Gate(4, 1, whole=True)
    with torch.no_grad():
        gate.log_odds.copy_(torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]))
    gate.train()
    count = torch.zeros(5)
    for _ in range(4000):
        gate.draw()
        count += gate.masks() > 0
    torch.testing.assert_close(count / 4000, gate.probabilities(), atol=0.03, rtol=0)


def test_the_penalty_drives_the_share_to_the_aim() -> None:
    torch.manual_seed(0)
    model = _model()
    method = Gates(GateConfig(keep=0.4, rate=0.1, fixed=0.9))
    compression = Compression((method,))
    compression.attach(model)
    optimizer = torch.optim.AdamW(compression.parameter_groups(model, 1e-3, 0.0))
    for step in range(600):
        compression.advance(step / 700)
        optimizer.zero_grad()
        compression.penalty().backward()
        optimizer.step()
    assert abs(method.expected_share().item() - 0.4) < 0.08


def test_fixed_masks_meet_the_aim_and_leave_the_least_likely_out() -> None:
    model = _model()
    method = _gated(model, keep=0.5)
    with torch.no_grad():
        for gate in method._gates:
            gate.log_odds.copy_(torch.randn_like(gate.log_odds) + 1)
    assert not method.advance(0.4)
    assert not method.settled
    assert method.advance(0.5)
    assert method.settled
    assert method.penalty() is None
    assert not method.advance(0.6)
    share = _kept(method) / method._whole
    assert 0.4 < share <= 0.5
    for gate in method._gates:
        gone = gate.log_odds[:-1][gate.values[:-1] == 0]
        left = gate.log_odds[:-1][gate.values[:-1] > 0]
        if len(gone) and len(left):
            assert gone.max() <= left.min()


@pytest.mark.parametrize("modules", [True, False])
def test_what_overshoots_the_aim_comes_back(modules: bool) -> None:
    method = _gated(_model(), keep=0.6, modules=modules)
    with torch.no_grad():
        for gate in method._gates:
            gate.log_odds.copy_(torch.randn_like(gate.log_odds) - 3)
    overshot = sum(gate.likely_masks().count_nonzero() for gate in method._gates)
    method.advance(1.0)
    share = _kept(method) / method._whole
    assert 0.55 < share <= 0.6
    assert sum(gate.values.count_nonzero() for gate in method._gates) > overshot
    for gate in method._gates:
        gone = gate.log_odds[:-1][gate.values[:-1] == 0]
        left = gate.log_odds[:-1][gate.values[:-1] > 0]
        if len(gone) and len(left):
            assert gone.max() <= left.min()
        assert gate.values.max() <= 1


def test_masks_are_fixed_without_chance() -> None:
    model = _model().train()
    method = _gated(model, keep=0.97)
    method.advance(0.1)
    method.advance(0.5)
    # All are alike and likely, so few go, and the others let all through.
    values = torch.cat([gate.values for gate in method._gates])
    assert set(values.tolist()) == {0.0, 1.0}
    assert _kept(method) > 0.8 * method._whole


def test_modules_may_be_told_to_stay() -> None:
    model = _model()
    method = _gated(model, keep=0.1, modules=False)
    with torch.no_grad():
        for gate in method._gates:
            gate.log_odds[-1] = -100.0
    assert all(gate.masks()[-1] == 1 for gate in method._gates)
    method.advance(1.0)
    assert all(gate.values[-1] == 1 for gate in method._gates)


def test_a_copy_has_the_masks_of_the_model() -> None:
    model = _model()
    method = _gated(model)
    twin = copy.deepcopy(model)
    method.advance(1.0)
    twin.load_state_dict(model.state_dict())
    inputs = _inputs()
    assert torch.equal(model(*inputs)[0], twin(*inputs)[0])


def test_pruning_removes_on_the_graph_what_masks_left_out(tmp_path: Path) -> None:
    model = _model()
    method = _gated(model, keep=0.5)
    with torch.no_grad():
        for gate in method._gates:
            gate.log_odds.copy_(torch.randn_like(gate.log_odds) + 1)
        # A whole module goes, too.
        method._gates[3].log_odds[-1] = -9.0
    method.advance(1.0)
    bake(model)
    inputs = _inputs()
    expected = model(*inputs)[0]
    path = tmp_path / "model.onnx"
    export_onnx(_model(), path)
    dense = ir.load(path)
    run([Simplify()], dense)
    export_onnx(model, path)
    loaded = ir.load(path)
    run([Simplify(), Recognise(), RemovePruned()], loaded)
    small = tmp_path / "small.onnx"
    ir.save(loaded, small)
    session = create_session(small)
    found = session.run(
        ["logprobs"], {"audio_signal": inputs[0].numpy(), "length": inputs[1].numpy()}
    )[0]
    for row, wanted, frames in zip(found, expected, (15, 11), strict=True):
        np.testing.assert_allclose(row[:frames], wanted[:frames].detach(), atol=1e-4)
    removed = method._whole - _kept(method)
    assert 0.95 * removed < _weights(dense) - _weights(loaded) < 1.1 * removed


def _weights(model: ir.Model) -> int:
    """Floats that a model stores."""
    values = model.graph.initializers.values()
    return sum(int(np.prod(each.shape)) for each in values if each.dtype == ir.DataType.FLOAT)
