"""The pipeline's first part: from the exported model to one model for each target."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir
from pydantic import TypeAdapter

from ..passes.base import PassResult, run
from ..passes.format_plan import FormatPlan
from ..passes.quantize import Range
from ..runtime.fingerprint import digest
from ..runtime.inputs import synthetic_features
from ..runtime.model_file import load_model, save_model
from ..runtime.progress import progress
from ..runtime.recognition.asr import TOKENS_NAME, AsrModel
from ..runtime.runner import Runner
from ..runtime.speech.frontend import FILE_NAME as FRONTEND_NAME
from ..runtime.validation.lengths import check_lengths
from .calibration import calibrated_ranges, why_no_ranges
from .census import census
from .cuda.half_choice import choose_float32
from .formats.step import choose, formats_stage, given_plan
from .fusion_choice import choose_fusions
from .gate import TargetVerdict, judge_model
from .job import Job
from .proof import Prover
from .recipe.recipe import Fusion, Target
from .recorder import Notes
from .result.decisions import Decisions, Findings
from .sparse_pass import sparsify_stage
from .stages import (
    LOSSLESS_STAGES,
    LOWER,
    QUANTIZE,
    VERSIONS,
    Pass,
    Skip,
    Stage,
    passes_of,
)
from .steps import Steps
from .words import Words

#: The model that every target is lowered from.
INTERCHANGE = "interchange"

_CALIBRATE = ("calibrate", "find the ranges of activations that get constant scales")
_CHOOSE_FORMATS = ("choose_formats", "find a number format for each linear layer")

#: What stages keep: the digest of the model that they wrote, None where they changed nothing.
_WRITTEN: TypeAdapter[str | None] = TypeAdapter(str | None)
_VERDICT = TypeAdapter(TargetVerdict)
_FUSIONS: TypeAdapter[tuple[Fusion, ...]] = TypeAdapter(tuple[Fusion, ...])
_PARTS: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])
_PLAN = TypeAdapter(FormatPlan)
_RANGES: TypeAdapter[Mapping[str, Range]] = TypeAdapter(Mapping[str, Range])


@dataclass(frozen=True)
class _Point:
    """Where a chain of stages stands.

    Attributes:
        key: Stands for all that led here.
        open: Gives the model, of which the caller may change its copy.
    """

    key: str
    open: Callable[[], ir.Model]


@dataclass
class Pipeline:
    """Makes the models of a result.

    Attributes:
        words: The validation speech, with the run that it belongs to.
        folder: Where the models are written.
        gates: What the gate said after lossy stages, where it was asked.
    """

    words: Words
    folder: Path
    gates: list[TargetVerdict] = field(default_factory=list)

    @property
    def job(self) -> Job:
        """Inputs and recipe, checked."""
        return self.words.job

    @property
    def steps(self) -> Steps:
        """Does the stages that no interrupted run had finished."""
        return self.words.steps

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
            check_lengths(job.original, job.session)
            prover = Prover(job.original, job.session, job.recipe.proof, job.longest_frames)
        findings = job.findings or Findings(encoder_frames=_encoder_frames(job))
        point = _Point(job.key, lambda: load_model(job.original.path))
        for stage in LOSSLESS_STAGES:
            point = self._stage(stage, point, findings, prover)
        point, findings = self._sparsify(point, findings)
        point, findings = self._calibrate(point, findings)
        heard = digest(point.key, self._audio())
        findings = self._choose_formats(point, findings, heard)
        formats = formats_stage(job.calibration, heard, job.cache)
        point = self._stage(formats, point, findings)
        lowered: dict[Target, _Point] = {}
        if "cuda" in job.recipe.lower.targets:
            # Before int8 with frames quantised one by one, which the CUDA provider has not.
            findings = self._choose_float32(point, findings)
            lowered["cuda"] = self._stage(LOWER["cuda"], point, findings, slot="cuda")
        for stage in (QUANTIZE, VERSIONS):
            point = self._stage(stage, point, findings)
        models = {INTERCHANGE: self._finish(point, self.folder / f"{INTERCHANGE}.onnx")}
        for target in job.recipe.lower.targets:
            if target not in lowered:
                findings = self._choose_fusions(target, point, findings)
                lowered[target] = self._stage(LOWER[target], point, findings, slot=target)
            path = self.folder / target / job.original.search.file
            models[target] = self._finish(lowered[target], path)
            job.original.search.copy_to(path.parent)
        Decisions(model=job.model, findings=findings).write(self.folder)
        return models

    def _stage(
        self,
        stage: Stage,
        point: _Point,
        findings: Findings,
        prover: Prover | None = None,
        slot: str = INTERCHANGE,
    ) -> _Point:
        """Runs a stage's passes on a model, with the proof where one is due.

        Every stage reads the file that the one before has written, so that a resumed run gives
        the same models as one that was never interrupted.
        """
        passes = stage.passes(self.job.recipe, findings)
        if isinstance(passes, Skip):
            self.steps.recorder.skip(
                stage.name, stage.about, passes.reason, lossless=stage.lossless
            )
            return point
        key = digest(point.key, stage.name, passes, self.job.recipe.proof)

        def make(notes: Notes) -> str | None:
            model = point.open()
            with progress(stage.name, None):
                notes.before = census(model)
                notes.result = run(passes, model)
                notes.after = census(model)
                if not notes.result.modified:
                    return None
                if prover is not None:
                    notes.proof = prover.prove(model, stage.name)
            return self.steps.write_model(slot, key, model)

        written = self.steps.run(
            key, stage.name, stage.about, _WRITTEN, make, lossless=stage.lossless
        )
        if written is None:
            return dataclasses.replace(point, key=key)
        # Behind a stage that was finished before, the slot may hold the model of a later one.
        if not self.steps.recorder.stages[-1].resumed:
            self.steps.only_model(slot, key)
        after = _Point(key, lambda: self._reopen(slot, key, written, passes, point))
        # A target's model is the result, which is judged anyway.
        if not stage.lossless and slot == INTERCHANGE:
            self._gate(stage, after)
        return after

    def _gate(self, stage: Stage, point: _Point) -> None:
        """Judges the words of the model after a lossy stage, where the recipe asks for it."""
        options = self.job.recipe.validation
        limit = options.max_wer_increase
        if not options.gate_each_stage or limit is None:
            return

        def make(_: Notes) -> TargetVerdict:
            with tempfile.TemporaryDirectory(dir=self.folder) as place:
                model = self._finish(point, Path(place) / "model.onnx")
                return judge_model(stage.name, self.words.compare(model), limit)

        self.gates.append(
            self.steps.run(
                digest(point.key, self.words.key, limit),
                f"gate.{stage.name}",
                "judge the words that are heard after the stage",
                _VERDICT,
                make,
            )
        )

    def _reopen(
        self, slot: str, key: str, written: str, passes: Sequence[Pass], before: _Point
    ) -> ir.Model:
        """The model that a stage wrote; made again where a run with another recipe replaced it."""
        model = self.steps.read_model(slot, key, written)
        if model is None:
            model = before.open()
            run(passes, model)
            # The next stage must read what it would have read: names change with the file.
            again = self.steps.write_model(slot, key, model)
            model = self.steps.read_model(slot, key, again)
        assert model is not None, "it was just written"
        return model

    def _sparsify(self, point: _Point, findings: Findings) -> tuple[_Point, Findings]:
        """Sets zeros, where the recipe asks for them."""
        audio = self._audio()
        stage = sparsify_stage(self.job.calibration, digest(audio))
        if self.job.recipe.sparsify.repairs:
            findings = findings.model_copy(update={"calibrated_on": self._calibrated_on()})
        return self._stage(stage, point, findings), findings

    def _calibrate(self, point: _Point, findings: Findings) -> tuple[_Point, Findings]:
        """Finds the ranges of what the recipe quantises with constant ranges."""
        job = self.job
        if job.findings is not None:
            self.steps.recorder.skip(*_CALIBRATE, f"the ranges are those of {job.inputs.decisions}")
            return point, findings
        model = point.open()
        recordings = job.calibration
        reason = why_no_ranges(model, recordings, job.recipe)
        if recordings is None or reason is not None:
            self.steps.recorder.skip(*_CALIBRATE, str(reason))
            return point, findings
        audio = self._audio()
        speech = digest(point.key, audio)
        key = digest(speech, job.recipe.calibration)
        ranges = self.steps.run(
            key,
            *_CALIBRATE,
            _RANGES,
            lambda _: calibrated_ranges(model, recordings, job.recipe, job.cache, speech),
        )
        point = dataclasses.replace(point, key=key)
        found = {"ranges": ranges, "calibrated_on": self._calibrated_on()}
        return point, findings.model_copy(update=found)

    def _choose_formats(self, point: _Point, findings: Findings, heard: str) -> Findings:
        """Finds the formats of linear layers, where the recipe gives each its own."""
        job = self.job
        if job.recipe.formats.choice == "none":
            return findings
        given = given_plan(job)
        if given is not None:
            plan, origin = given
            self.steps.recorder.skip(*_CHOOSE_FORMATS, f"the formats are those of {origin}")
        else:
            options = job.recipe.formats, job.recipe.quantize.exclude
            selection = [(each, job.content[each.path]) for each in job.selection]
            key = digest(heard, _CHOOSE_FORMATS, options, selection)

            def make(notes: Notes) -> FormatPlan:
                chosen, notes.result = choose(
                    point.open(), job, findings, heard, self.steps.recorder.tell
                )
                return chosen.plan

            plan = self.steps.run(key, *_CHOOSE_FORMATS, _PLAN, make)
        found = {"formats": plan, "calibrated_on": self._calibrated_on()}
        if given is None:
            chosen_by = {job.content[utterance.path] for utterance in job.selection}
            found["selected_on"] = tuple(sorted(chosen_by))
        return findings.model_copy(update=found)

    def _choose_float32(self, point: _Point, findings: Findings) -> Findings:
        """Finds the parts that target `cuda` keeps in float32."""
        job = self.job
        step = ("float32.cuda", "find the blocks that lose too much in float16")
        if findings.float32_parts is not None:
            self.steps.recorder.skip(*step, f"the blocks are those of {job.inputs.decisions}")
            return findings
        audio, how = self._audio(), self.words.options_of("cuda")

        def make(notes: Notes) -> tuple[str, ...]:
            speech = () if job.calibration is None else job.calibration.utterances
            parts, notes.result = choose_float32(
                point.open(), job.original, job.recipe, speech, how
            )
            return parts

        key = digest(point.key, step, job.recipe.cuda, job.recipe.positions, audio, how)
        parts = self.steps.run(key, *step, _PARTS, make)
        found: dict[str, object] = {"float32_parts": parts}
        if audio:
            found["calibrated_on"] = self._calibrated_on()
        return findings.model_copy(update=found)

    def _choose_fusions(self, target: Target, point: _Point, findings: Findings) -> Findings:
        """Finds the fusions of a target that this machine is faster without."""
        job, options = self.job, self.job.timing
        step = (f"measure.{target}", "time the model without each fusion, on this machine")
        reason = self._why_not_measured(target)
        if reason is not None:
            self.steps.recorder.skip(*step, reason)
            return findings
        stage = LOWER[target]

        def lower(without: tuple[Fusion, ...]) -> PassResult:
            tried = findings.model_copy(update={"slower": {target: without}})
            return run(passes_of(stage, job.recipe, tried), point.open())

        def make(notes: Notes) -> tuple[Fusion, ...]:
            slower, notes.result = choose_fusions(target, lower, job.original, options)
            return slower

        every = passes_of(stage, job.recipe, findings)
        key = digest(point.key, step, every, options)
        slower = self.steps.run(key, *step, _FUSIONS, make)
        return findings.model_copy(update={"slower": {**findings.slower, target: slower}})

    def _why_not_measured(self, target: Target) -> str | None:
        if self.job.findings is not None:
            return f"the fusions are those of {self.job.inputs.decisions}"
        if not self.job.recipe.lower.measure:
            return "the recipe switches it off"
        if target == "cpu" and not self.words.has_kernels:
            return "the kernel library is not built here, so times would not be those of its users"
        return None

    def _audio(self) -> list[str]:
        """Hashes of the calibration speech."""
        calibration = self.job.calibration
        heard = calibration.utterances if calibration is not None else ()
        return [self.job.content[utterance.path] for utterance in heard]

    def _calibrated_on(self) -> tuple[str, ...]:
        """The same as decisions keep them."""
        return tuple(sorted(set(self._audio())))

    def _finish(self, point: _Point, path: Path) -> AsrModel:
        """Writes a model with its vocabulary and front end beside it, so that it runs alone."""
        save_model(point.open(), path)
        original = self.job.original
        original.frontend.save(path.with_name(FRONTEND_NAME))
        if original.tokens is not None:
            original.tokens.save(path.with_name(TOKENS_NAME))
        return original.with_model(path)


def _encoder_frames(job: Job) -> int | None:
    """Encoder frames of the longest audio that the recipe names; None if it names none."""
    if job.longest_frames is None:
        return None
    face = job.original.interface
    features = synthetic_features(face.mels, job.longest_frames)
    return len(Runner(face, job.session).scores(face.alone(features))[0])
