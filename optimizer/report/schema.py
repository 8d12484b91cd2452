"""The schema of ``report.json``; `docs/report.md` is written from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ...runtime.audit.layers import Audit
from ...runtime.audit.placement import Placement
from ...runtime.benchmark.bench import BenchResult
from ...runtime.environment import Environment
from ...runtime.profile.modules import ModuleProfile
from ...runtime.record import Record
from ...runtime.speech import Interval
from ...runtime.validation.layerwise import ModuleDifference
from ...runtime.validation.validate import Validation
from ..gate import Verdict
from ..records import Census, StageRecord
from .layers import LayerRecord

REPORT_JSON = "report.json"
#: Name of the model that was given, in tables beside the targets.
ORIGINAL = "original"


class ModelRecord(Record):
    """One model file of the run."""

    name: str = Field(description="`original`, `interchange`, or the target")
    path: str = Field(description="relative to the result folder; as given for the original")
    bytes: int = Field(description="size on disk, external data included")
    sha256: str = Field(description="of the model file")
    opset: int = Field(description="version of the standard operators that the file needs")
    ir_version: int = Field(description="version of the ONNX format that the file needs")
    census: Census = Field(description="how much is in it")


class DataRecord(Record):
    """Speech that the run used."""

    path: str = Field(description="folder or manifest, as given")
    subset: str | None = Field(description="text that the paths of the files taken contain")
    utterances: int = Field(description="files taken")
    seconds: float = Field(description="their duration")
    content: str | None = Field(
        default=None, description="hash of their audio: equal for the same speech elsewhere"
    )


class SummaryRow(Record):
    """One line of the table that comes first."""

    name: str = Field(description="the model")
    bytes: int = Field(description="size on disk")
    smaller: float = Field(description="the original's size divided by this one")
    wer: float | None = Field(description="word error rate, a fraction; none if not measured")
    wer_interval: Interval | None = Field(description="its 95 % bootstrap interval")
    wer_increase: Interval | None = Field(
        description="95 % interval of the difference from the original, paired by utterance"
    )
    p50_ms: float | None = Field(description="median latency in ms; none if not measured")
    faster: float | None = Field(description="the original's median divided by this one")
    provider: str = Field(default="cpu", description="what latency was measured on")
    note: str | None = Field(
        default=None, description="what its figures are of, where that must be known; a sentence"
    )


class Report(Record):
    """Everything a run found out."""

    schema_version: Literal[1] = Field(default=1, description="version of this schema")
    confpress: str = Field(description="version of Confpress")
    command: tuple[str, ...] = Field(description="the command that made the result")
    started: str = Field(description="when it started, UTC, ISO 8601")
    seconds: float = Field(description="wall time of the run")
    recipe: Mapping[str, Any] = Field(description="every option that was in force, by section")
    summary: tuple[SummaryRow, ...] = Field(description="the table that comes first")
    verdict: Verdict | None = Field(
        description="whether the word error rate stayed within its limit; none without a limit"
    )
    models: tuple[ModelRecord, ...] = Field(description="the original and the files written")
    stages: tuple[StageRecord, ...] = Field(description="what was done, in order")
    calibration: DataRecord | None = Field(description="speech that set constant ranges")
    validation_data: DataRecord | None = Field(description="speech that results were judged by")
    selection: DataRecord | None = Field(
        default=None, description="speech whose words chose the formats of layers"
    )
    layers: tuple[LayerRecord, ...] = Field(
        default=(), description="the layers of the interchange model: formats and zeros"
    )
    audit: Mapping[str, Audit] = Field(
        default={}, description="which kernel each layer of a target runs on, by target"
    )
    validation: Mapping[str, Validation] = Field(
        description="each model written (`reference` is the original), by name"
    )
    lowering: Mapping[str, Validation] = Field(
        description="each target against the interchange model: what lowering adds, by target"
    )
    modules: Mapping[str, tuple[ModuleDifference, ...]] = Field(
        description="each target against the original, module by module: where the error enters"
    )
    benchmark: BenchResult | None = Field(
        description="latency of the original and the targets of the CPU, models in turn"
    )
    benchmark_cuda: BenchResult | None = Field(
        default=None,
        description="latency of the original and target `cuda`, both on the GPU; none without one",
    )
    placement: Placement | None = Field(
        default=None, description="where operators of target `cuda` run; none without a GPU"
    )
    profile: Mapping[str, ModuleProfile] = Field(
        description="time by module and by operator, by model"
    )
    environment: Environment = Field(description="the machine and the libraries")
    notes: tuple[str, ...] = Field(
        description="what the run left out and why, in sentences (no speech, no benchmark)"
    )
