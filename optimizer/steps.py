"""The steps of a run, each done once: what a killed run had finished, the next one takes over.

A step is known by its key: a hash of its options and of the key of the step before, so that a key
stands for all that led to it; the first key stands for the inputs and the program. A step's
record and value lie in ``KEY.json``, a model that it made in ``SLOT-KEY/``. A slot holds the
newest model of a chain of steps.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import onnx_ir as ir
from pydantic import TypeAdapter, ValidationError

from ..passes.errors import ConfpressError
from ..runtime.fingerprint import model_digest
from ..runtime.model_file import load_model, save_model
from .console import print_step, write_json
from .recorder import Notes, Recorder
from .records import StageRecord

T = TypeVar("T")

_MODEL = "model.onnx"


@dataclass(frozen=True)
class Steps:
    """Does steps that were not done before.

    Attributes:
        folder: Where finished steps are kept.
        recorder: Where all steps are recorded, those too that were done before.
    """

    folder: Path
    recorder: Recorder

    def run(
        self,
        key: str,
        name: str,
        about: str,
        kind: TypeAdapter[T],
        make: Callable[[Notes], T],
        *,
        lossless: bool = False,
    ) -> T:
        """What a step gives.

        Args:
            key: Stands for the step's options and all that it depends on.
            name: The step's name in the report.
            about: What it is for, in a line.
            kind: Type of the value, which is plain data or records.
            make: Does the step.
            lossless: Whether the step must keep the model's outputs.

        Raises:
            ConfpressError: the folder cannot be written, or what the step raises.
        """
        kept = self._read(key, kind)
        if kept is not None:
            self.recorder.resume(kept[0])
            return kept[1]
        with self.recorder.stage(name, about, lossless=lossless) as notes:
            value = make(notes)
        self._write(key, self.recorder.stages[-1], value)
        return value

    def write_model(self, slot: str, key: str, model: ir.Model) -> str:
        """Keeps the model that a step made, beside the one before; returns its digest."""
        path = self._model(slot, key)
        save_model(model, path)
        return model_digest(path)

    def read_model(self, slot: str, key: str, digest: str) -> ir.Model | None:
        """The model that a step made; None where it is no longer kept, or not whole."""
        try:
            path = self._model(slot, key)
            return load_model(path) if model_digest(path) == digest else None
        except ConfpressError:
            return None

    def only_model(self, slot: str, key: str) -> None:
        """Forgets the slot's models of other steps, which this one's has replaced."""
        for folder in self.folder.glob(f"{slot}-*"):
            if folder != self._model(slot, key).parent:
                shutil.rmtree(folder, ignore_errors=True)

    def _model(self, slot: str, key: str) -> Path:
        return self.folder / f"{slot}-{key}" / _MODEL

    def _read(self, key: str, kind: TypeAdapter[T]) -> tuple[StageRecord, T] | None:
        try:
            kept = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
            record = StageRecord.model_validate(kept["record"])
            return record, kind.validate_python(kept["value"])
        # Nothing there, or a file that a power cut spoilt: the step is done again.
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return None

    def _write(self, key: str, record: StageRecord, value: object) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / f"{key}.json", {"record": record, "value": value})
        except OSError as error:
            raise ConfpressError(f"cannot write in {self.folder}: {error.strerror}.") from error


@contextmanager
def resumable_steps(folder: Path, recorder: Recorder) -> Iterator[Steps]:
    """The steps of a run, which says where it fails that the next one can go on.

    Args:
        folder: Where finished steps are kept.
        recorder: Where all steps are recorded.
    """
    try:
        yield Steps(folder, recorder)
    except BaseException:
        if folder.is_dir() and not recorder.quiet:
            print_step(
                f"What was finished is kept in {folder.parent}; the same command goes on from it."
            )
        raise
