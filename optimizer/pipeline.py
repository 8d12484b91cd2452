"""The pipeline's first part: from the exported model to one model for each target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from ..passes.base import run
from ..passes.quantize import Range
from ..runtime.asr import TOKENS_NAME, AsrModel
from ..runtime.inputs import synthetic_features
from ..runtime.model_file import load_model, save_model
from ..runtime.progress import progress
from ..runtime.runner import Runner
from ..runtime.speech.frontend import FILE_NAME as FRONTEND_NAME
from .calibration import calibrated_ranges, why_no_ranges
from .census import census
from .job import Job
from .proof import Prover
from .recorder import Recorder
from .stages import LOSSLESS_STAGES, LOWER, QUANTIZE, SPARSIFY, VERSIONS, Findings, Skip, Stage

#: The model that every target is lowered from.
INTERCHANGE = "interchange"

_CALIBRATE = ("calibrate", "find the ranges of activations that get constant scales")


@dataclass
class Pipeline:
    """Makes the models of a result.

    Attributes:
        job: Inputs and recipe, checked.
        folder: Where the models are written.
        recorder: Where the stages are recorded.
    """

    job: Job
    folder: Path
    recorder: Recorder

    def run(self) -> dict[str, AsrModel]:
        """Runs every stage that makes models.

        Returns:
            The interchange model and the targets' models, by name.

        Raises:
            ConfpressError: a stage fails, or changes outputs that it must keep.
        """
        job = self.job
        prover = None
        if job.recipe.proof.enabled:
            prover = Prover(job.original, job.session, job.recipe.proof, job.longest_frames)
        findings = Findings(_encoder_frames(job))
        for stage in LOSSLESS_STAGES:
            self._stage(stage, job.model, findings, prover)
        self._stage(SPARSIFY, job.model, findings)
        findings = dataclasses.replace(findings, ranges=self._ranges())
        for stage in (QUANTIZE, VERSIONS):
            self._stage(stage, job.model, findings)
        path = self._save(job.model, self.folder / f"{INTERCHANGE}.onnx")
        models = {INTERCHANGE: self._load(path)}
        for target in job.recipe.lower.targets:
            # From the file, so that every target starts from what the result says it does.
            model = load_model(path)
            self._stage(LOWER[target], model, findings)
            models[target] = self._load(self._save(model, self.folder / target / "model.onnx"))
        return models

    def _stage(
        self, stage: Stage, model: ir.Model, findings: Findings, prover: Prover | None = None
    ) -> None:
        """Runs a stage's passes on a model in place, with the proof where one is due."""
        passes = stage.passes(self.job.recipe, findings)
        if isinstance(passes, Skip):
            self.recorder.skip(stage.name, stage.about, passes.reason, lossless=stage.lossless)
            return
        with (
            self.recorder.stage(stage.name, stage.about, lossless=stage.lossless) as notes,
            progress(stage.name, None),
        ):
            notes.before = census(model)
            notes.result = run(passes, model)
            notes.after = census(model)
            if prover is not None and notes.result.modified:
                notes.proof = prover.prove(model, stage.name)

    def _ranges(self) -> Mapping[str, Range]:
        """Calibrates what the recipe quantises with constant ranges."""
        job = self.job
        reason = why_no_ranges(job.model, job.calibration, job.recipe)
        if job.calibration is None or reason is not None:
            self.recorder.skip(*_CALIBRATE, str(reason))
            return {}
        with self.recorder.stage(*_CALIBRATE):
            return calibrated_ranges(job.model, job.calibration, job.recipe)

    def _save(self, model: ir.Model, path: Path) -> Path:
        """Writes a model with its vocabulary and front end beside it, so that it runs alone."""
        save_model(model, path)
        original = self.job.original
        original.frontend.save(path.with_name(FRONTEND_NAME))
        if original.tokens is not None:
            original.tokens.save(path.with_name(TOKENS_NAME))
        return path

    def _load(self, path: Path) -> AsrModel:
        return AsrModel.load(path, self.job.original.frontend, self.job.original.tokens)


def _encoder_frames(job: Job) -> int | None:
    """Encoder frames of the longest audio that the recipe names; None if it names none."""
    if job.longest_frames is None:
        return None
    features = synthetic_features(job.original.interface.mels, job.longest_frames)
    return len(Runner(job.original.interface, job.session).scores([features])[0])
