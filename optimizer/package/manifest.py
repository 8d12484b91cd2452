"""``manifest.json`` of a package: what it holds, what it needs, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from ...runtime.record import Record
from ..report.schema import SummaryRow
from ..result.manifest import MANIFEST, FileEntry, file_entry

Kind = Literal["bundle", "ort", "sherpa-onnx"]


class InterfaceRecord(Record):
    """What to feed the model and which of its outputs are scores."""

    features: str = Field(description="input of log-mel features")
    mels_first: bool = Field(description="[batch, mels, frames], else [batch, frames, mels]")
    dtype: str = Field(description="type of the features")
    length: str | None = Field(description="input of the valid frames, [batch]")
    length_dtype: str = Field(description="its type")
    mask: str | None = Field(description="input that is true in valid frames, [batch, frames]")
    mask_dtype: str = Field(description="its type")
    scores: str = Field(
        description="output of log probabilities, [batch, frames, vocabulary], or of a "
        "transducer's encoder, [batch, frames, channels]"
    )
    scores_turned: bool = Field(description="whether that output has its frames last")
    score_lengths: str | None = Field(description="output of the valid frames of the scores")


class PackagedModel(Record):
    """The model file and what it needs."""

    file: str = Field(description="path in the package")
    interface: InterfaceRecord = Field(description="inputs and outputs")
    transducer: tuple[str, str] | None = Field(
        description="decoder and joiner of a transducer, of which `file` is the encoder"
    )
    longest_seconds: float | None = Field(description="longest audio it takes; none is any")
    opset: int = Field(description="version of the standard operators")
    ir_version: int = Field(description="version of the ONNX format")
    minimum_onnxruntime: str = Field(description="oldest ONNX Runtime that knows both")
    operators: Mapping[str, Mapping[str, int]] = Field(
        description="how often each operator occurs, by domain; function bodies counted once"
    )


class PackagedKernels(Record):
    """A kernel library of the package."""

    file: str = Field(description="path in the package")
    architecture: str = Field(description="machine that it runs on, as Python's platform names it")
    paths: tuple[str, ...] | None = Field(
        description="instruction sets it chooses from when it runs; none where it is for another "
        "machine than the one that packed it"
    )
    compiler: str | None = Field(description="what built it; none likewise")


class Licences(Record):
    """Under which terms the parts may be used."""

    confpress: str = Field(description="code and kernel library: SPDX identifier")
    model: str | None = Field(description="the model, as given when packaging; none was not given")


class Provenance(Record):
    """What the package was made from."""

    source: FileEntry = Field(description="the model that was optimised")
    result: str = Field(description="SHA-256 of the result's manifest.json")
    command: tuple[str, ...] = Field(description="the command that optimised it")
    created: str = Field(description="when that was, UTC, ISO 8601")
    versions: Mapping[str, str] = Field(description="what it ran with")


class Metrics(Record):
    """What the result's report says of the model."""

    summary: SummaryRow = Field(description="size, word error rate, latency")
    original: SummaryRow = Field(description="the same of the model that was optimised")
    cpu: str = Field(description="processor that the latency was measured on")
    utterances: int = Field(description="utterances that the word error rate was measured on")


class PackageManifest(Record):
    """What a package folder holds."""

    kind: Literal["confpress-package"] = Field(
        default="confpress-package", description="the mark of a package"
    )
    schema_version: Literal[1] = Field(default=1, description="version of this format")
    package: Kind = Field(description="what the package is for")
    confpress: str = Field(description="version of Confpress that made it")
    target: str = Field(description="which of the result's models it holds")
    model: PackagedModel = Field(description="the model")
    kernels: tuple[PackagedKernels, ...] = Field(
        description="kernel libraries, one for each architecture; none where it needs none"
    )
    licences: Licences = Field(description="terms of use")
    provenance: Provenance = Field(description="where it comes from")
    metrics: Metrics = Field(description="what was measured")
    files: Mapping[str, FileEntry] = Field(
        description="every file but this one, by path relative to the package"
    )


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Every file under a folder but its manifest, in the order of their paths."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: file_entry(path)
        for name, path in sorted(found.items())
        if path.is_file() and name != MANIFEST
    }
