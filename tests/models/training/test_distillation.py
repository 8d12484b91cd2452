from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.compression import Compression, bake  # noqa: E402
from confpress.models.compression.gates import GateConfig, Gates  # noqa: E402
from confpress.models.compression.low_bit import LowBit, LowBitConfig  # noqa: E402
from confpress.models.compression.sparsity import BalancedSparsity, SparsityConfig  # noqa: E402
from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.models.training.data import Corpus, Example, batches, collate  # noqa: E402
from confpress.models.training.distillation import (  # noqa: E402
    Distillation,
    DistillationConfig,
    FinetuningConfig,
)
from confpress.models.training.loop import EpochResult, Trainer  # noqa: E402


def _teacher(seed: int = 0) -> ConformerCTC:
    torch.manual_seed(seed)
    shape = {"features": 16, "layers": 2, "heads": 2, "ff_dim": 32, "kernel": 5, "dropout": 0.2}
    return ConformerCTC(
        ConformerConfig(vocabulary=4, d_model=16, subsampling_channels=4, **shape)
    ).eval()


def _speech(count: int = 24) -> list[Example]:
    random = np.random.default_rng(0)
    lengths = random.integers(40, 80, count)
    return [Example(random.standard_normal((16, n)).astype(np.float16), ()) for n in lengths]


def _trainer(folder: Path, compression: Compression, **options: object) -> Trainer:
    distillation = Distillation(_teacher(), DistillationConfig())
    return Trainer(
        distillation.student(),
        distillation,
        FinetuningConfig(**{"epochs": 6, "frames_per_batch": 400, "average_decay": 0.8, **options}),
        folder,
        compression=compression,
    )


def test_the_teacher_itself_has_no_error() -> None:
    distillation = Distillation(_teacher(), DistillationConfig())
    student = distillation.student().eval()
    grouped = batches(_speech(), 400, None)
    assert distillation.error(student, grouped) == pytest.approx(0, abs=1e-6)
    loss = distillation.loss(student, collate(grouped[0]))
    assert loss.total.item() == pytest.approx(0, abs=1e-6)


def test_the_student_has_no_dropout_unless_asked_for_and_the_teacher_never() -> None:
    teacher = _teacher()
    for share in (0.0, 0.3):
        student = Distillation(teacher, DistillationConfig(dropout=share)).student()
        drops = [each.p for each in student.modules() if isinstance(each, torch.nn.Dropout)]
        assert set(drops) == {share}
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_frames_that_pad_do_not_count() -> None:
    distillation = Distillation(_teacher(), DistillationConfig())
    other = _teacher(1)
    batch = collate(_speech(4))
    once = distillation.loss(other, batch)
    longer = torch.nn.functional.pad(batch.features, (0, 40), value=7.0)
    again = distillation.loss(other, batch._replace(features=longer))
    torch.testing.assert_close(once.total, again.total, rtol=1e-4, atol=1e-5)


def test_the_error_is_the_mean_over_frames_however_they_are_grouped() -> None:
    distillation = Distillation(_teacher(), DistillationConfig())
    other, speech = _teacher(1), _speech()
    with torch.inference_mode():
        errors = [distillation.error(other, batches(speech, size, None)) for size in (80, 900)]
    assert errors[0] > 0.01
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)


def test_blocks_count_by_their_weight() -> None:
    other, batch = _teacher(1), collate(_speech(4))
    totals = [
        Distillation(_teacher(), DistillationConfig(layer_weight=weight)).loss(other, batch)
        for weight in (0.0, 1.0, 2.0)
    ]
    assert totals[0].total.item() == pytest.approx(totals[0].told)
    first, second = (totals[i + 1].total - totals[i].total for i in range(2))
    assert first.item() > 0.01
    assert first.item() == pytest.approx(second.item(), rel=1e-4)


def test_learning_mends_what_zeros_spoil(tmp_path: Path) -> None:
    def method() -> Compression:
        return Compression([BalancedSparsity(SparsityConfig(pattern="1:4", exclude=()))])

    speech = _speech()
    spoilt = _trainer(tmp_path / "spoilt", method())
    spoilt.compression.advance(1.0)
    results: list[EpochResult] = []
    trainer = _trainer(tmp_path / "learned", method(), epochs=30)
    error = trainer.fit([Corpus("speech", speech)], speech[:8], on_epoch=results.append)
    grouped = batches(speech[:8], 400, None)
    with torch.inference_mode():
        before = spoilt.objective.error(spoilt.model.eval(), grouped)
    assert error < 0.5 * before
    # Only what has all its zeros is kept.
    assert error == min(result.error for result in results[15:])


def test_the_best_weights_are_found_again_and_stay_when_baked(tmp_path: Path) -> None:
    compression = Compression(
        [
            Gates(GateConfig(keep=0.7)),
            BalancedSparsity(SparsityConfig(pattern="2:4", exclude=())),
            LowBit(LowBitConfig(bits=4, block=16)),
        ]
    )
    speech = _speech()
    trainer = _trainer(tmp_path, compression)
    error = trainer.fit([Corpus("speech", speech)], speech[:8])
    best = trainer.best()
    grouped = batches(speech[:8], 400, None)
    with torch.inference_mode():
        assert trainer.objective.error(best, grouped) == pytest.approx(error, rel=1e-4)
        bake(best)
        assert trainer.objective.error(best, grouped) == pytest.approx(error, rel=1e-4)
    assert set(best.state_dict()) == set(_teacher().state_dict())
    weight = best.encoder.layers[0].self_attn.linear_q.weight
    for row in weight.detach():
        for start in range(0, 16, 4):
            assert row[start : start + 4].count_nonzero() <= 2
        steps = row / (row.abs().max() / 7)
        torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    def method() -> Compression:
        return Compression(
            [
                Gates(GateConfig(keep=0.7)),
                BalancedSparsity(SparsityConfig(pattern="2:4", exclude=())),
            ]
        )

    speech = [Corpus("speech", _speech(8))]
    whole = _trainer(tmp_path / "whole", method(), epochs=4)
    whole.fit(speech, _speech(2))

    class StoppedError(Exception):
        pass

    for stop in (1, 3):

        def interrupt(result: EpochResult, at: int = stop) -> None:
            if result.epoch == at:
                raise StoppedError

        folder = tmp_path / str(stop)
        with pytest.raises(StoppedError):
            _trainer(folder, method(), epochs=4).fit(speech, _speech(2), on_epoch=interrupt)
        resumed = _trainer(folder, method(), epochs=4)
        assert resumed.resume()
        resumed.fit(speech, _speech(2))
        assert resumed.compression.settled
        for name, tensor in whole.model.state_dict().items():
            torch.testing.assert_close(resumed.model.state_dict()[name], tensor, msg=name)


def test_what_learns_normalises_as_what_is_served(tmp_path: Path) -> None:
    speech = _speech(8)
    for statistics in (False, True):
        trainer = _trainer(
            tmp_path / str(statistics),
            Compression(()),
            epochs=1,
            learning_rate=1e-9,
            batch_statistics=statistics,
        )
        before = trainer.model.encoder.layers[0].conv.batch_norm.running_mean.clone()
        results: list[EpochResult] = []
        trainer.fit([Corpus("speech", speech)], speech[:2], on_epoch=results.append)
        after = trainer.model.encoder.layers[0].conv.batch_norm.running_mean
        assert torch.equal(before, after) != statistics
        # Nothing has been left out, so there is nothing to learn.
        assert (results[0].loss < 1e-4) != statistics
