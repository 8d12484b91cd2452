"""Making a package: filled, described, archived, checked elsewhere, then put in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import __version__
from ...runtime.model_file import load_model, sha256
from ...runtime.recognition.asr import AsrModel
from ...runtime.session import create_session
from ..report.schema import ORIGINAL, SummaryRow
from ..result.folder import result_folder
from ..result.manifest import MANIFEST
from .archive import refuse_existing, write_archive
from .bundle import Bundle
from .check import Checked, check_elsewhere
from .kind import Filled, PackageKind
from .licence import IDENTIFIER, licence_text
from .manifest import (
    InterfaceRecord,
    Licences,
    Metrics,
    PackagedModel,
    PackageManifest,
    Provenance,
    list_files,
)
from .ort_format import OrtFormat
from .readme import render_readme
from .requirements import minimum_onnxruntime, operators
from .sherpa import Sherpa
from .source import Source, open_source

#: Kinds by the name that `--for` takes.
KINDS: Mapping[str, PackageKind] = {kind.name: kind for kind in (Bundle(), OrtFormat(), Sherpa())}

ARCHIVE_SUFFIX = ".tar"


@dataclass(frozen=True)
class Built:
    """A finished package.

    Attributes:
        folder: The package.
        archive: The same as one file.
        manifest: What is in its `manifest.json`.
        checked: What it was checked with.
    """

    folder: Path
    archive: Path
    manifest: PackageManifest
    checked: Checked


def build(
    result: Path,
    kind: PackageKind,
    output: Path,
    *,
    target: str | None = None,
    licence: str | None = None,
) -> Built:
    """Makes a package of a result and checks it; nothing appears where the check fails.

    The same result gives the same archive, bit for bit, but for ORT format: ONNX Runtime writes a
    table of it in an order that changes from run to run.

    Args:
        result: Folder of `confpress optimize`.
        kind: What the package is for.
        output: The folder to make; it gets the package's folder and its archive.
        target: Which model; None is the first that the kind prefers.
        licence: Terms of use of the model, for manifest and README.

    Raises:
        ConfpressError: the result is not whole, the kind cannot hold its model, the output exists,
            or the package does not run elsewhere as the result does.
    """
    refuse_existing(output)
    source = open_source(result, target, kind.targets)
    with result_folder(output, [result]) as staging:
        folder = staging / kind.name
        folder.mkdir()
        filled = kind.fill(source, folder)
        manifest = _describe(source, kind, filled, licence, folder)
        archive = folder.with_suffix(ARCHIVE_SUFFIX)
        write_archive(folder, archive)
        checked = check_elsewhere(archive, source, kind)
    return Built(output / folder.name, output / archive.name, manifest, checked)


def _describe(
    source: Source, kind: PackageKind, filled: Filled, licence: str | None, folder: Path
) -> PackageManifest:
    """Writes README, licence and manifest into a filled package."""
    (folder / "LICENSE").write_text(licence_text(), encoding="utf-8")
    manifest = PackageManifest(
        package=kind.name,
        confpress=__version__,
        target=source.target,
        model=_model(source, filled),
        kernels=filled.kernels,
        licences=Licences(confpress=IDENTIFIER, model=licence),
        provenance=Provenance(
            source=source.manifest.source,
            result=sha256(source.folder / MANIFEST),
            command=source.manifest.command,
            created=source.manifest.created,
            versions=source.manifest.versions,
        ),
        metrics=_metrics(source),
        files={},
    )
    readme = render_readme(manifest, filled.usage)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    manifest = manifest.model_copy(update={"files": list_files(folder)})
    text = manifest.model_dump_json(indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def _model(source: Source, filled: Filled) -> PackagedModel:
    path = source.model.path
    model = load_model(path)
    opset = model.opset_imports[""]
    return PackagedModel(
        file=filled.model,
        transducer=filled.transducer,
        interface=_interface(source.model),
        longest_seconds=source.model.longest_seconds(create_session(path)),
        opset=opset,
        ir_version=model.ir_version,
        minimum_onnxruntime=filled.minimum_onnxruntime
        or minimum_onnxruntime(opset, model.ir_version),
        operators=operators(model),
    )


def _interface(model: AsrModel) -> InterfaceRecord:
    face = model.interface
    return InterfaceRecord(
        features=face.features,
        mels_first=face.mels_first,
        dtype=np.dtype(face.dtype).name,
        length=face.length,
        length_dtype=np.dtype(face.length_dtype).name,
        mask=face.mask,
        mask_dtype=np.dtype(face.mask_dtype).name,
        scores=face.scores,
        score_lengths=face.score_lengths,
        scores_turned=face.scores_turned,
    )


def _metrics(source: Source) -> Metrics:
    rows: Mapping[str, SummaryRow] = {row.name: row for row in source.report.summary}
    data = source.report.validation_data
    return Metrics(
        summary=rows[source.target],
        original=rows[ORIGINAL],
        cpu=source.report.environment.cpu,
        utterances=data.utterances if data else 0,
    )
