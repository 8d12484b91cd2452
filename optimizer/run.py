"""A whole run: inputs checked, models made, evidence gathered, the folder written."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..runtime.environment import describe_environment
from ..runtime.fingerprint import digest
from ..runtime.model_file import file_bytes, load_model, sha256
from ..runtime.recognition.asr import AsrModel
from ..runtime.recognition.ctc import CTC_FILE
from ..runtime.speech.manifest import Utterance
from .census import census
from .console import user_cache
from .evidence import gather
from .gate import with_stages
from .job import Inputs, Job, open_job
from .pipeline import INTERCHANGE, Pipeline
from .recipe.recipe import Recipe
from .recorder import Recorder
from .report.html import render
from .report.layers import layers_of
from .report.schema import ORIGINAL, REPORT_JSON, DataRecord, ModelRecord, Report
from .report.summary import summarise
from .result.folder import result_folder, steps_folder
from .result.manifest import file_entry, write_manifest
from .steps import resumable_steps
from .words import Words

REPORT_HTML = "report.html"


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        folder: The result folder.
        report: What is in its `report.json`.
    """

    folder: Path
    report: Report

    @property
    def interchange(self) -> Path:
        """The model in standard ONNX that every target was lowered from."""
        return self.folder / f"{INTERCHANGE}.onnx"

    def model(self, target: str) -> Path:
        """The deployable model of a target; the folder of a transducer."""
        path = self.folder / target / CTC_FILE
        return path if path.is_file() else path.parent


def run_pipeline(
    inputs: Inputs,
    recipe: Recipe,
    output: Path,
    *,
    command: Sequence[str],
    quiet: bool = False,
    cache: bool = True,
) -> Result:
    """Optimises a model and writes the result folder, whole or not at all.

    Args:
        inputs: What the user gave.
        recipe: What to do.
        output: The result folder; an earlier result of ours there is replaced.
        command: What to type to get the same, for report and manifest.
        quiet: Whether the stages are not told of on standard error.
        cache: Whether the user's cache folder is used.

    Raises:
        ConfpressError: an input is bad, the output cannot be written, or a stage fails.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    with (
        result_folder(output, inputs.files) as folder,
        resumable_steps(steps_folder(folder), Recorder(quiet)) as steps,
    ):
        job = open_job(inputs, recipe, user_cache(quiet=quiet) if cache else None)
        words = Words(job, steps)
        pipeline = Pipeline(words, folder)
        models = pipeline.run()
        evidence = gather(models, words)
        if evidence.verdict is not None:
            evidence.verdict = with_stages(evidence.verdict, pipeline.gates)
        records = _model_records(job, models, folder)
        report = Report(
            confpress=__version__,
            command=tuple(command),
            started=started.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - clock,
            recipe=recipe.to_dict(),
            summary=summarise(records, evidence),
            verdict=evidence.verdict,
            models=records,
            stages=tuple(steps.recorder.stages),
            calibration=_calibration_record(job),
            validation_data=_validation_record(job),
            selection=_selection_record(job),
            layers=layers_of(load_model(models[INTERCHANGE].path)),
            audit=evidence.audit,
            validation=evidence.validation,
            lowering=evidence.lowering,
            benchmark=evidence.benchmark,
            benchmark_cuda=None if evidence.gpu is None else evidence.gpu.benchmark,
            placement=None if evidence.gpu is None else evidence.gpu.placement,
            modules=evidence.modules,
            profile=evidence.profile,
            environment=describe_environment(),
            notes=tuple(evidence.notes),
        )
        report = _relative(report, folder)
        _write(report, folder)
        write_manifest(
            folder,
            command=command,
            created=report.started,
            versions=report.environment.libraries | {"confpress": __version__},
            source=file_entry(job.original.path),
        )
    return Result(output, report)


def _write(report: Report, folder: Path) -> None:
    text = report.model_dump_json(indent=2) + "\n"
    (folder / REPORT_JSON).write_text(text, encoding="utf-8")
    (folder / REPORT_HTML).write_text(render(report), encoding="utf-8")


def _relative(report: Report, folder: Path) -> Report:
    """The report with paths into the folder relative to it, as the folder still moves."""
    inside = json.dumps(f"{folder}/", ensure_ascii=False)[1:-1]
    return Report.model_validate_json(report.model_dump_json().replace(inside, ""))


def _model_records(job: Job, models: dict[str, AsrModel], folder: Path) -> tuple[ModelRecord, ...]:
    paths = {ORIGINAL: job.original.path} | {name: m.path for name, m in models.items()}
    return tuple(_model_record(name, path) for name, path in paths.items())


def _model_record(name: str, path: Path) -> ModelRecord:
    model = load_model(path)
    return ModelRecord(
        name=name,
        path=str(path),
        bytes=file_bytes(path),
        sha256=sha256(path),
        opset=model.opset_imports[""],
        ir_version=model.ir_version,
        census=census(model),
    )


def _calibration_record(job: Job) -> DataRecord | None:
    if job.calibration is None:
        return None
    return _data_record(
        job, job.inputs.calibration, job.recipe.calibration.subset, job.calibration.utterances
    )


def _validation_record(job: Job) -> DataRecord | None:
    if not job.validation:
        return None
    return _data_record(job, job.inputs.validation, job.recipe.validation.subset, job.validation)


def _selection_record(job: Job) -> DataRecord | None:
    if not job.selection:
        return None
    return _data_record(
        job, job.inputs.selection, job.recipe.formats.selection_subset, job.selection
    )


def _data_record(
    job: Job, path: Path | None, subset: str | None, utterances: Sequence[Utterance]
) -> DataRecord:
    return DataRecord(
        path=str(path),
        subset=subset,
        utterances=len(utterances),
        seconds=sum(u.seconds for u in utterances),
        content=digest(*(job.content[u.path] for u in utterances)),
    )
