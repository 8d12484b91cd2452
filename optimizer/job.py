"""One run's inputs, all checked before the first stage: what is wrong is said at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnxruntime as ort

from ..passes.errors import ConfpressError
from ..passes.lower.qdq import refuse_lowered
from ..runtime.cache import Cache
from ..runtime.calibration.calibrate import CalibrationSet
from ..runtime.fingerprint import digest, model_digest, program_digest
from ..runtime.model_file import load_model
from ..runtime.recognition.asr import AsrModel
from ..runtime.runner import Runner
from ..runtime.session import create_session
from ..runtime.speech.content import audio_digests, refuse_overlap
from ..runtime.speech.manifest import Utterance, load_utterances
from .calibration import load_recordings
from .recipe.recipe import BenchSection, Recipe
from .result.decisions import (
    Findings,
    read_decisions,
    refuse_calibrated,
    refuse_other_formats,
    refuse_other_speech,
)


@dataclass(frozen=True)
class Inputs:
    """What the user gave.

    Attributes:
        model: The ONNX file, or the folder of a transducer.
        calibration: Folder or manifest of speech that sets the ranges; None without.
        validation: Folder or manifest of speech that results are judged by; None without.
        selection: Folder or manifest of speech that formats are chosen by; None without.
        frontend: Description of the features; None is what lies beside the model.
        tokens: Vocabulary; None is what lies beside the model.
        decisions: `decisions.json` of an earlier run, whose choices are taken over; None without.
    """

    model: Path
    calibration: Path | None = None
    validation: Path | None = None
    frontend: Path | None = None
    tokens: Path | None = None
    decisions: Path | None = None
    selection: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that the run reads and must not replace (it writes the same decisions)."""
        speech = (self.calibration, self.validation, self.selection)
        given = (self.model, *speech, self.frontend, self.tokens)
        return tuple(path for path in given if path is not None)


@dataclass(frozen=True)
class Job:
    """Inputs that were opened and found good.

    Attributes:
        inputs: As the user gave them.
        recipe: What to do.
        original: The model as a recogniser.
        session: A session of the original.
        model: Hash of the model's file and external data.
        key: Stands for the model, what belongs to it, and the program.
        content: Hash of the audio of every recording, by path.
        findings: What an earlier run measured, to be taken over; None without.
        cache: What is known from runs of other outputs.
        calibration: Recordings to calibrate on; None without.
        validation: Recordings to validate on; empty without.
        selection: Recordings with texts to choose formats by; empty without.
    """

    inputs: Inputs
    recipe: Recipe
    original: AsrModel
    session: ort.InferenceSession
    model: str
    key: str
    content: Mapping[Path, str]
    findings: Findings | None
    cache: Cache
    calibration: CalibrationSet | None
    validation: tuple[Utterance, ...]
    selection: tuple[Utterance, ...] = ()

    @property
    def longest_frames(self) -> int | None:
        """Feature frames of the longest audio that the recipe names; None if it names none."""
        seconds = self.recipe.positions.max_seconds
        if seconds is None:
            return None
        frontend = self.original.frontend
        return frontend.frames(math.ceil(seconds * frontend.sample_rate))

    @cached_property
    def timing(self) -> BenchSection:
        """How latency is measured: durations and batches as far as the models take them."""
        section, face = self.recipe.bench, self.original.interface
        durations, batches = section.seconds, section.batches
        longest = self.recipe.positions.max_seconds
        if longest is not None:
            durations = tuple(dict.fromkeys(min(seconds, longest) for seconds in durations))
        frames = Runner(face, self.session).chunks.window if face.states else face.frames
        if frames is not None:
            durations = (frames * self.original.frontend.seconds_per_frame,)
        if face.batch is not None:
            batches = (face.batch,)
        return section.model_copy(update={"seconds": durations, "batches": batches})


def open_job(inputs: Inputs, recipe: Recipe, cache: Cache | None = None) -> Job:
    """Opens and checks everything that a run needs.

    Args:
        inputs: What the user gave.
        recipe: What to do.
        cache: What is known from earlier runs; None is nothing.

    Raises:
        ConfpressError: something is missing, broken, empty, or does not fit together.
    """
    original = AsrModel.load(inputs.model, inputs.frontend, inputs.tokens)
    try:
        refuse_lowered(load_model(original.path))
    except ConfpressError as error:
        raise ConfpressError(f"{original.path}: {error}") from error
    calibration = None
    if inputs.calibration is not None:
        calibration = load_recordings(inputs.calibration, original.frontend, recipe)
    elif recipe.formats.choice != "none" and inputs.decisions is None:
        raise ConfpressError(
            f"formats by '{recipe.formats.choice}' need calibration speech; give --calibration."
        )
    elif recipe.sparsify.repairs:
        raise ConfpressError(
            "the repair of zeros (sparsify.repair) needs calibration speech; give --calibration."
        )
    validation = _validation(inputs, recipe, original)
    selection = _selection(inputs, recipe, original)
    uses = {
        "calibration": calibration.utterances if calibration else (),
        "validation": validation,
        "selection": selection,
    }
    speech = [utterance for each in uses.values() for utterance in each]
    content = audio_digests(speech, original.frontend.sample_rate)
    refuse_overlap(uses, content)
    model, *searched = (model_digest(path) for path in original.files)
    findings = None
    if inputs.decisions is not None:
        findings = read_decisions(inputs.decisions, model)
        refuse_calibrated(findings, inputs.decisions, validation, content)
        heard = None if calibration is None else calibration.utterances
        audio = None if heard is None else {each.path: content[each.path] for each in heard}
        if recipe.formats.choice != "none":
            refuse_other_formats(findings, inputs.decisions, audio)
        if recipe.sparsify.repairs:
            refuse_other_speech(findings, inputs.decisions, audio, "zeros")
    return Job(
        inputs=inputs,
        recipe=recipe,
        original=original,
        session=create_session(original.path),
        model=model,
        key=digest(program_digest(), model, searched, original.frontend, original.tokens, findings),
        content=content,
        findings=findings,
        cache=cache or Cache(),
        calibration=calibration,
        validation=tuple(validation),
        selection=tuple(selection),
    )


def selection_speech(path: Path, subset: str | None, original: AsrModel) -> list[Utterance]:
    """The utterances that plans of formats are judged by.

    Args:
        path: Folder or manifest of speech.
        subset: Take only files whose path contains this text.
        original: The model that hears them.

    Raises:
        ConfpressError: there are none, they have no texts, or the model cannot tell their words.
    """
    found = [each for each in load_utterances(path, subset) if each.text]
    if not found:
        raise ConfpressError(f"{path} has no texts, so formats cannot be chosen by its words.")
    _check_words(original)
    return found


def _selection(inputs: Inputs, recipe: Recipe, original: AsrModel) -> list[Utterance]:
    wanted = recipe.formats.max_wer_increase is not None
    if inputs.selection is None:
        if wanted and inputs.decisions is None:
            raise ConfpressError(
                "formats within a limit on the word error rate are chosen on speech with texts: "
                "give --selection."
            )
        return []
    if not wanted:
        raise ConfpressError(
            "--selection chooses formats by their words, within a limit: give --max-wer-increase."
        )
    found = selection_speech(inputs.selection, recipe.formats.selection_subset, original)
    _check_lengths(found, recipe)
    return found


def _validation(inputs: Inputs, recipe: Recipe, original: AsrModel) -> list[Utterance]:
    limit = recipe.validation.max_wer_increase
    if inputs.validation is None:
        if limit is not None:
            raise ConfpressError(
                "a limit on the word error rate needs speech with texts: give --validation."
            )
        return []
    utterances = load_utterances(inputs.validation, recipe.validation.subset)
    utterances = utterances[: recipe.validation.max_utterances]
    _check_words(original)
    _check_lengths(utterances, recipe)
    if limit is not None and not any(u.text for u in utterances):
        raise ConfpressError(
            f"{inputs.validation} has no texts, so its word error rate cannot be limited."
        )
    return utterances


def _check_words(original: AsrModel) -> None:
    """Refuses a model that cannot tell the words of single utterances."""
    if original.tokens is None:
        raise ConfpressError(
            f"validation on speech needs the vocabulary of {original.path}: put tokens.txt beside "
            "it, or give --tokens."
        )
    if original.interface.batch not in (None, 1):
        raise ConfpressError(
            f"{original.path} takes batches of {original.interface.batch} only, so it cannot be "
            "validated on utterances one by one; export it with a dynamic batch."
        )


def _check_lengths(utterances: Sequence[Utterance], recipe: Recipe) -> None:
    longest = recipe.positions.max_seconds
    for utterance in utterances:
        if longest is not None and utterance.seconds > longest:
            raise ConfpressError(
                f"{utterance.path} lasts {utterance.seconds:.1f} s, but the model is to take at "
                f"most {longest:g} s of audio (max_seconds)."
            )
