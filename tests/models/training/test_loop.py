from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from confpress.models.config import ConformerConfig  # noqa: E402
from confpress.models.ctc import ConformerCTC  # noqa: E402
from confpress.models.training.data import Corpus, Example  # noqa: E402
from confpress.models.training.loop import (  # noqa: E402
    EpochResult,
    Progress,
    Trainer,
    TrainingConfig,
    load_checkpoint,
)
from confpress.models.training.parallel import run_workers  # noqa: E402
from confpress.models.training.recognition import Recognition, best_path  # noqa: E402
from confpress.models.training.vocabulary import CharacterVocabulary  # noqa: E402
from confpress.passes.errors import ConfpressError  # noqa: E402

VOCABULARY = CharacterVocabulary("▁abc")


def _examples(count: int = 48) -> list[Example]:
    """Every letter is a steady pattern of features, twelve frames long."""
    random = np.random.default_rng(0)
    patterns = random.standard_normal((4, 16, 1))
    made = []
    for _ in range(count):
        ids = [int(i) for i in random.integers(1, 4, 3)]
        # A silent gap before every letter, so that repeated letters can be told apart.
        parts = [np.concatenate([np.zeros((16, 8)), np.repeat(patterns[i], 12, 1)], 1) for i in ids]
        noise = random.standard_normal((16, 60)) * 0.1
        made.append(Example((np.concatenate(parts, 1) + noise).astype(np.float16), tuple(ids)))
    return made


def _trainer(
    folder: Path, d_model: int = 16, max_positions: int | None = None, **options: object
) -> Trainer:
    torch.manual_seed(0)
    shape = {"features": 16, "layers": 2, "heads": 2, "ff_dim": 32, "kernel": 5, "dropout": 0.0}
    model = ConformerCTC(
        ConformerConfig(
            vocabulary=4,
            d_model=d_model,
            subsampling_channels=4,
            max_positions=max_positions,
            **shape,
        )
    )
    defaults = {"epochs": 20, "frames_per_batch": 480, "learning_rate": 5e-3, "average_decay": 0.9}
    return Trainer(
        model,
        Recognition(VOCABULARY, intermediate_weight=0.3),
        TrainingConfig(**{**defaults, **options}),
        folder,
        facts={"characters": VOCABULARY.characters},
    )


def test_a_small_model_learns_and_its_checkpoint_says_so(tmp_path: Path) -> None:
    examples = _examples()
    moments: list[Progress] = []
    results: list[EpochResult] = []
    best = _trainer(tmp_path).fit(
        [Corpus("letters", examples)], examples[:12], moments.append, results.append
    )
    assert results[-1].loss < 0.5 * results[0].loss
    assert best < 0.2
    assert best == min(r.error for r in results)
    assert [m.done for m in moments] == sorted(m.done for m in moments)

    model, vocabulary = load_checkpoint(tmp_path / "best.pt")
    assert vocabulary == VOCABULARY
    example = examples[0]
    with torch.no_grad():
        logprobs, _ = model(
            torch.from_numpy(example.features.astype(np.float32))[None], torch.tensor([60])
        )
    assert best_path(logprobs[0]) == list(example.targets)


def test_a_run_learns_from_its_last_batch(tmp_path: Path) -> None:
    results: list[EpochResult] = []
    trainer = _trainer(tmp_path, epochs=1)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.fit([Corpus("letters", _examples(8))], _examples(2), on_epoch=results.append)
    assert results[0].loss > 0
    after = trainer.model.parameters()
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_batch_in_which_nothing_is_said_does_not_spoil_the_weights(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, epochs=1, frames_per_batch=60)
    silent = [Example(example.features, ()) for example in _examples(1)]
    trainer.fit([Corpus("letters", [*_examples(2), *silent])], _examples(2))
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    corpus, held_out = [Corpus("letters", _examples(16))], _examples(4)
    whole = _trainer(tmp_path / "whole", epochs=4)
    whole.fit(corpus, held_out)

    stopped = _trainer(tmp_path / "parts", epochs=4)

    class StoppedError(Exception):
        pass

    def stop(result: EpochResult) -> None:
        if result.epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        stopped.fit(corpus, held_out, on_epoch=stop)
    resumed = _trainer(tmp_path / "parts", epochs=4)
    assert resumed.resume()
    assert resumed.epoch == 2
    resumed.fit(corpus, held_out)
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_either_checkpoint_gives_averaged_weights(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, epochs=1)
    trainer.fit([Corpus("letters", _examples(8))], _examples(2))
    for name in ("best.pt", "last.pt"):
        loaded = load_checkpoint(tmp_path / name)[0].state_dict()
        for key, tensor in trainer.average.module.state_dict().items():
            torch.testing.assert_close(loaded[key], tensor, msg=f"{name}: {key}")


def test_time_ends_a_run(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, epochs=1000, minutes=0.02)
    trainer.fit([Corpus("letters", _examples(8))], _examples(2))
    assert 0 < trainer.epoch < 1000


def test_two_workers_keep_the_same_weights(tmp_path: Path) -> None:
    run_workers(2, partial(_work, tmp_path))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], msg=name)


def _work(folder: Path) -> None:
    trainer = _trainer(folder, epochs=2)
    trainer.fit([Corpus("letters", _examples(16))], _examples(4))
    parameters = {name: p.detach() for name, p in trainer.model.named_parameters()}
    torch.save(parameters, folder / f"{trainer.workers.rank}.pt")


def test_every_worker_goes_on_with_its_random_numbers(tmp_path: Path) -> None:
    run_workers(2, partial(_resume, tmp_path))


def _resume(folder: Path) -> None:
    trainer = _trainer(folder, epochs=1)
    trainer.fit([Corpus("letters", _examples(16))], _examples(4))
    left = torch.get_rng_state()
    torch.distributed.barrier()  # the first worker has written
    assert _trainer(folder, epochs=2).resume()
    assert torch.equal(torch.get_rng_state(), left)


def test_an_utterance_beyond_the_position_table_is_refused(tmp_path: Path) -> None:
    corpus = [Corpus("letters", _examples(4))]
    _trainer(tmp_path, max_positions=15, epochs=1).fit(corpus, _examples(2))
    with pytest.raises(ConfpressError, match="60 frames takes 15 positions, and the model has 14"):
        _trainer(tmp_path, max_positions=14).fit(corpus, _examples(2))


def test_there_may_be_nothing_to_resume(tmp_path: Path) -> None:
    assert not _trainer(tmp_path).resume()


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, epochs=1)
    trainer.fit([Corpus("letters", _examples(4))], _examples(2))
    with pytest.raises(ConfpressError, match="another shape"):
        _trainer(tmp_path, d_model=24).resume()


def test_a_checkpoint_of_an_older_version_is_refused(tmp_path: Path) -> None:
    _trainer(tmp_path, epochs=1).fit([Corpus("letters", _examples(4))], _examples(2))
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    del state["lowest_error"]
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(ConfpressError, match=r"lacks 'lowest_error': it is not a checkpoint of th"):
        _trainer(tmp_path).resume()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"rubbish")
    with pytest.raises(ConfpressError, match=r"best\.pt is not a checkpoint"):
        load_checkpoint(path)
    path.rename(tmp_path / "last.pt")
    with pytest.raises(ConfpressError, match=r"last\.pt is not a checkpoint"):
        _trainer(tmp_path).resume()
