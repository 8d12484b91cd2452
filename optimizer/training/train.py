"""Training a Conformer-CTC on manifests: configuration, features, the loop's progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, create_model

from ...passes.errors import ConfpressError
from ...runtime.progress import progress
from ...runtime.speech import FrontEnd, Utterance, load_utterances, read_audio
from ...runtime.speech.frontend import FILE_NAME as FRONTEND_NAME
from ..recipe.recipe import merge
from ..recipe.toml_file import check, read_toml
from ..text import percent
from .torch_extra import import_models


@dataclass(frozen=True)
class TrainingData:
    """Speech with texts.

    Attributes:
        training: What is learned from.
        validation: What decides which weights are kept; other recordings.
    """

    training: tuple[Utterance, ...]
    validation: tuple[Utterance, ...]


def load_data(
    training: Path, validation: Path, training_subset: str | None, validation_subset: str | None
) -> TrainingData:
    """Lists the utterances.

    Raises:
        ConfpressError: a folder is missing or empty, an utterance has no text, or the two share a
            recording.
    """
    data = TrainingData(
        tuple(load_utterances(training, training_subset)),
        tuple(load_utterances(validation, validation_subset)),
    )
    for utterance in (*data.training, *data.validation):
        if not utterance.text:
            raise ConfpressError(f"{utterance.path} has no text in its manifest.")
    check_apart(data.training, data.validation)
    return data


def check_apart(training: Sequence[Utterance], validation: Sequence[Utterance]) -> None:
    """Refuses to judge by what was learned from."""
    learned = {utterance.path.resolve() for utterance in training}
    for utterance in validation:
        if utterance.path.resolve() in learned:
            raise ConfpressError(
                f"{utterance.path} is in both the training and the validation speech."
            )


def train(
    data: TrainingData,
    folder: Path,
    config_file: Path | None,
    overrides: dict[str, Any],
    tell: Callable[[str], None],
) -> float:
    """Trains until the schedule ends; goes on where an earlier run in the folder stopped.

    Args:
        data: Speech with texts.
        folder: Keeps `best.pt`, `last.pt` and `frontend.json`.
        config_file: TOML with the sections `model`, `training` and `frontend`.
        overrides: Keys of `training` from the command line.
        tell: Takes a line when an epoch ends.

    Returns:
        The lowest word error rate on the validation speech, as a fraction.

    Raises:
        ConfpressError: torch is missing, the configuration is wrong or not that of the earlier
            run, or audio cannot be read.
    """
    loop = import_models("training.loop")
    corpora = import_models("training.data")
    vocabulary = import_models("training.vocabulary").CharacterVocabulary()
    config = _configuration(config_file, overrides, len(vocabulary))
    examples = [
        corpora.prepare(
            [(u.path, u.text) for u in utterances],
            _extractor(config.frontend),
            vocabulary,
        )
        for utterances in (data.training, data.validation)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    trainer = loop.Trainer(
        loop.seeded_model(config.model, config.training.seed),
        import_models("training.recognition").Recognition(
            vocabulary, config.training.intermediate_weight
        ),
        config.training,
        folder,
        augment=import_models("training.augment").SpecAugment(),
        facts={"characters": vocabulary.characters},
    )
    if trainer.resume():
        _check_front_end(config.frontend, folder / FRONTEND_NAME)
        tell(f"resumed after epoch {trainer.epoch}")
    else:
        config.frontend.save(folder / FRONTEND_NAME)
    corpus = corpora.Corpus("speech", examples[0])
    return fit(trainer, corpus, examples[1], lambda result: tell(_line(result)))


def fit(
    trainer: Any, corpus: Any, validation: Sequence[Any], on_epoch: Callable[[Any], None]
) -> float:
    """Lets a trainer run until its schedule ends, with a bar; gives the lowest error."""
    with progress("Training", 1.0) as advance:
        done = 0.0

        def on_progress(moment: Any) -> None:
            nonlocal done
            advance(moment.done - done)
            done = moment.done

        return float(trainer.fit([corpus], validation, on_progress, on_epoch))


def _configuration(config_file: Path | None, overrides: dict[str, Any], tokens: int) -> Any:
    """The file's sections with the command line's options on top, checked.

    The three models are joined here, as two of them come with torch.
    """
    said, text = read_toml(config_file) if config_file else ({}, "")
    frontend = said.get("frontend", {})
    mels = frontend.get("n_mels") if isinstance(frontend, dict) else None
    fixed = {"model": {"vocabulary": tokens, "features": mels or FrontEnd().n_mels}}
    sections: dict[str, Any] = {
        "model": (import_models("config").ConformerConfig, ...),
        "training": (import_models("training.recognition").RecognitionConfig, ...),
        "frontend": (FrontEnd, FrontEnd()),
    }
    forbid = ConfigDict(extra="forbid")
    whole = create_model("TrainingRecipe", __config__=forbid, **sections)
    data = merge(merge(fixed, said), {"training": overrides})
    source = str(config_file or "the options")
    recipe: Any = check(whole, data, source=source, text=text)
    for key, value in {"features": recipe.frontend.n_mels, "vocabulary": tokens}.items():
        stated = getattr(recipe.model, key)
        if stated != value:
            raise ConfpressError(
                f"{source}: model.{key} = {stated} is not allowed: the front end gives "
                f"{recipe.frontend.n_mels} features and the texts have {tokens} characters."
            )
    return recipe


def _check_front_end(wanted: FrontEnd, trained: Path) -> None:
    """Refuses to go on with other features than those that the checkpoints learned from."""
    if FrontEnd.load(trained) != wanted:
        raise ConfpressError(
            f"{trained.parent} was trained with another front end than the one asked for; "
            f"{trained} says which."
        )


def _extractor(frontend: FrontEnd) -> Callable[[Path], npt.NDArray[np.float32]]:
    """What gives the features of a recording."""
    return lambda path: frontend.features(read_audio(path, frontend.sample_rate))


def _line(result: Any) -> str:
    return (
        f"epoch {result.epoch}: loss {result.loss:.3f}, WER {percent(result.error)}, "
        f"{result.minutes:.1f} min"
    )
