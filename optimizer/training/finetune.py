"""Making a checkpoint's weights sparse, few-bit or fewer, by training it on what it did before."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, create_model

from ...passes.errors import ConfpressError
from ...runtime.interface import FloatArray
from ...runtime.model_file import sha256
from ...runtime.progress import progress
from ...runtime.speech import FrontEnd, Utterance, load_utterances, read_audio
from ...runtime.speech.frontend import FILE_NAME as FRONTEND_NAME
from ..console import write_text
from ..recipe.recipe import merge
from ..recipe.toml_file import check, read_toml
from .torch_extra import import_models
from .train import check_apart, fit

#: What a run was begun with.
_SETTINGS = "finetuning.json"
#: Of so many recordings one is held out, where no others are named to judge by.
_HELD_OUT = 20


@dataclass(frozen=True)
class Finetuned:
    """A smaller model.

    Attributes:
        model: Its checkpoint.
        divergence: Of its scores from the teacher's on recordings held out, in nats a frame.
        parameters: How many it has.
        zeros: How many of them are zero.
    """

    model: Path
    divergence: float
    parameters: int
    zeros: int


def load_speech(folders: Sequence[Path], exclude: str | None = None) -> list[Utterance]:
    """Lists recordings of several folders; texts are not needed.

    Args:
        folders: Folders or manifests.
        exclude: Files whose path contains this text are left out.

    Raises:
        ConfpressError: a folder is missing or empty, or nothing is left.
    """
    found = [each for folder in folders for each in load_utterances(folder)]
    left = [each for each in found if exclude is None or exclude not in str(each.path)]
    if not left:
        raise ConfpressError(f"the paths of all recordings contain '{exclude}'.")
    return left


def held_out(speech: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Recordings to learn from and others to judge by, of one list.

    Raises:
        ConfpressError: there are too few.
    """
    if len(speech) < _HELD_OUT:
        raise ConfpressError(
            f"{len(speech)} recordings are too few to hold some out; name others with --validation."
        )
    judged = list(speech[::_HELD_OUT])
    return [each for i, each in enumerate(speech) if i % _HELD_OUT], judged


def finetune(
    checkpoint: Path,
    speech: tuple[Sequence[Utterance], Sequence[Utterance]],
    folder: Path,
    config_file: Path | None,
    overrides: dict[str, Any],
    tell: Callable[[str], None],
) -> Finetuned:
    """Trains until the schedule ends; goes on where an earlier run in the folder stopped.

    Args:
        checkpoint: The trained model; it is the teacher, and where training begins.
        speech: Recordings to learn from, and others to judge by.
        folder: Keeps `last.pt`, `best.pt` and the result, of the checkpoint's kind.
        config_file: TOML with sections of the methods, `training`, `distillation` and `hearing`.
        overrides: Sections with keys, from the command line.
        tell: Takes a line when an epoch ends.

    Raises:
        ConfpressError: torch is missing, the configuration is wrong, no method is asked for, audio
            cannot be read, or the run was too short.
    """
    config = _configuration(config_file, overrides)
    check_apart(*speech)
    checkpoints, compression = import_models("checkpoints"), import_models("compression")
    corpora = import_models("training.data")
    if not checkpoint.is_file():
        raise ConfpressError(f"there is no checkpoint {checkpoint}.")
    loop = import_models("training.loop")
    teacher = checkpoints.load_model(checkpoint).to(loop.found_device(config.training.device))
    frontend = _front_end(checkpoint, teacher.config.features)
    learned = _heard(speech[0], frontend, config.hearing)
    judged = _heard(speech[1], frontend, import_models("training.hearing").AS_THEY_ARE)
    distillation = import_models("training.distillation").Distillation(teacher, config.distillation)
    folder.mkdir(parents=True, exist_ok=True)
    _check_settings(config, checkpoint, folder / _SETTINGS)
    methods = [
        kind.method(section)
        for name, kind in compression.KINDS.items()
        if (section := getattr(config, name)) is not None
    ]
    trainer = loop.Trainer(
        distillation.student(),
        distillation,
        config.training,
        folder,
        augment=import_models("training.augment").SpecAugment(),
        compression=compression.Compression(methods),
    )
    if trainer.resume():
        tell(f"resumed after epoch {trainer.epoch}")
    corpus = corpora.Corpus("speech", learned, 1 / len(config.hearing.speeds))
    divergence = fit(trainer, corpus, judged, lambda result: tell(_line(result)))
    if not trainer.compression.settled:
        raise ConfpressError(
            "the run ended before everything was left out that should be; give it more epochs."
        )
    smaller = trainer.best()
    compression.bake(smaller)
    output = folder / f"model{checkpoint.suffix}"
    checkpoints.save_model(smaller, checkpoint, output)
    frontend.save(output.with_name(FRONTEND_NAME))
    return Finetuned(
        model=output,
        divergence=divergence,
        parameters=smaller.parameter_count(),
        zeros=sum(int((each == 0).sum()) for each in smaller.parameters()),
    )


def options() -> type[BaseModel]:
    """What `--config` may say: `training`, `distillation`, `hearing`, a section for each method.

    Raises:
        ConfpressError: torch is missing.
    """
    distillation = import_models("training.distillation")
    hearing = import_models("training.hearing").HearingConfig
    sections: dict[str, Any] = {
        "training": (distillation.FinetuningConfig, distillation.FinetuningConfig()),
        "distillation": (distillation.DistillationConfig, distillation.DistillationConfig()),
        "hearing": (hearing, hearing()),
    }
    for name, kind in import_models("compression").KINDS.items():
        sections[name] = (kind.options | None, None)
    return create_model("FinetuningRecipe", __config__=ConfigDict(extra="forbid"), **sections)


def _configuration(config_file: Path | None, overrides: dict[str, Any]) -> Any:
    """The file's sections with the command line's options on top, checked."""
    said, text = read_toml(config_file) if config_file else ({}, "")
    recipe: Any = check(
        options(), merge(said, overrides), source=str(config_file or "the options"), text=text
    )
    kinds = import_models("compression").KINDS
    if not any(getattr(recipe, name) for name in kinds):
        raise ConfpressError(
            "nothing is asked of the weights: name --sparse, --bits, --keep or --experts, or a "
            f"section {', '.join(kinds)} in --config."
        )
    return recipe


def _heard(speech: Sequence[Utterance], frontend: FrontEnd, hearing: Any) -> list[Any]:
    """Recordings as examples, in the versions that are heard."""
    versions = import_models("training.hearing").versions
    example = import_models("training.data").unlabelled
    rate = frontend.sample_rate
    random = np.random.default_rng(hearing.seed)
    heard = []

    def other() -> FloatArray:
        return read_audio(speech[int(random.integers(len(speech)))].path, rate)

    with progress("Reading", len(speech), "recordings") as advance:
        for utterance in speech:
            audio = read_audio(utterance.path, rate)
            each = versions(audio, other, rate, hearing, random)
            heard += [example(frontend.features(version)) for version in each]
            advance(1)
    return heard


def _front_end(checkpoint: Path, features: int) -> FrontEnd:
    frontend = FrontEnd.beside(checkpoint)
    if frontend.n_mels != features:
        raise ConfpressError(
            f"{checkpoint} reads {features} features, and its front end gives {frontend.n_mels}."
        )
    return frontend


def _check_settings(config: Any, checkpoint: Path, file: Path) -> None:
    """Refuses to go on with other settings than those that a run began with, but for its length."""
    settings = config.model_dump(mode="json")
    for key in ("epochs", "minutes", "threads"):
        del settings["training"][key]
    settings["checkpoint"] = sha256(checkpoint)
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if (file.parent / "last.pt").is_file() and file.is_file() and file.read_text() != text:
        raise ConfpressError(
            f"{file.parent} holds a run with other settings ({file.name}); name another folder."
        )
    write_text(file, text)


def _line(result: Any) -> str:
    return (
        f"epoch {result.epoch}: divergence {result.loss:.4f} nats a frame, "
        f"{result.error:.4f} on the recordings held out, {result.minutes:.1f} min"
    )
