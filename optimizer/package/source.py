"""The result that a package is made from, opened and found whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from ...passes.errors import ConfpressError
from ...runtime.recognition.asr import AsrModel
from ...runtime.recognition.ctc import CTC_FILE
from ...runtime.recognition.transducer import ENCODER_FILE
from ..recipe.recipe import Target
from ..report.schema import REPORT_JSON, Report
from ..result.manifest import Manifest, verify

#: Targets in the order in which a package takes them, where it may take any.
TARGETS = ("cpu", "portable")
#: The file of a target's model, or of its encoder.
_FILES = (CTC_FILE, ENCODER_FILE)


@dataclass(frozen=True)
class Source:
    """One model of a result.

    Attributes:
        folder: The result folder.
        manifest: Its manifest, whose hashes were found true.
        report: What is in its report.
        target: Which of its models.
        model: That model as a recogniser, with its vocabulary.
    """

    folder: Path
    manifest: Manifest
    report: Report
    target: str
    model: AsrModel


def open_source(folder: Path, target: str | None, allowed: Sequence[str] = TARGETS) -> Source:
    """Opens a result folder of `confpress optimize`.

    Args:
        folder: The result folder.
        target: Which model; None is the first of `allowed` that is there.
        allowed: Targets that the package can take.

    Raises:
        ConfpressError: it is no result, a file is missing or changed, the model is not in it, or
            the model is not one that a package can run.
    """
    if not folder.is_dir():
        raise ConfpressError(f"there is no result folder {folder}.")
    manifest = verify(folder)
    found = [
        name
        for name in get_args(Target)
        if any(f"{name}/{file}" in manifest.files for file in _FILES)
    ]
    if target is not None and target not in allowed:
        raise ConfpressError(
            f"this package is made from the model of target {' or '.join(allowed)}, not {target}."
        )
    wanted = [target] if target else allowed
    chosen = next((name for name in wanted if name in found), None)
    if chosen is None:
        raise ConfpressError(
            f"{folder} has no model for {' or '.join(wanted)}, only for "
            f"{' and '.join(found) or 'no target'}; optimise with --target {wanted[0]}."
        )
    place = folder / chosen
    model = AsrModel.load(place / CTC_FILE if (place / CTC_FILE).is_file() else place)
    _check(model)
    return Source(folder, manifest, _report(folder), chosen, model)


def _check(model: AsrModel) -> None:
    """Refuses a model that cannot hear whole utterances and spell them."""
    face = model.interface
    if model.tokens is None:
        raise ConfpressError(
            f"{model.path} has no tokens.txt beside it, so that a package could not spell what it "
            "hears; optimise with --tokens."
        )
    if face.states:
        raise ConfpressError(
            f"{model.path} reads speech in chunks and hands on states; packages take models of "
            "whole utterances only."
        )
    if face.frames is not None or face.batch not in (None, 1):
        raise ConfpressError(
            f"{model.path} takes one size of input only, not utterances of any length; export it "
            "with dynamic axes."
        )


def refuse_transducer(model: AsrModel, kind: str) -> None:
    """Refuses a transducer where a package holds CTC models only.

    Raises:
        ConfpressError: the model is one.
    """
    if model.search.files:
        raise ConfpressError(
            f"{model.path.parent} is a transducer, and a package for {kind} holds CTC models only; "
            "--for bundle takes transducers."
        )


def _report(folder: Path) -> Report:
    path = folder / REPORT_JSON
    try:
        return Report.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ConfpressError(
            f"{path} is missing or of another version of Confpress; run `confpress optimize` again."
        ) from error
