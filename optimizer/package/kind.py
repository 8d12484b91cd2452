"""What the kinds of packages have in common: they are filled from a result, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...runtime.recognition.asr import TOKENS_NAME
from ...runtime.speech.frontend import FILE_NAME as FRONTEND_NAME
from .check import Checks
from .manifest import Kind, PackagedKernels
from .source import Source

#: The model's name in every package that holds it as ONNX.
MODEL = "model.onnx"


@dataclass(frozen=True)
class Filled:
    """What a package was filled with.

    Attributes:
        model: The model's file name.
        usage: How to use it, as Markdown for the README.
        kernels: Kernel libraries, one for each architecture.
        transducer: Files of a transducer's decoder and joiner; None for CTC.
        minimum_onnxruntime: Where it is not the model's versions that tell.
    """

    model: str
    usage: str
    kernels: tuple[PackagedKernels, ...] = ()
    transducer: tuple[str, str] | None = None
    minimum_onnxruntime: str | None = None


class PackageKind(Checks, Protocol):
    """A kind of package."""

    @property
    def name(self) -> Kind:
        """As `--for` says it."""

    @property
    def targets(self) -> Sequence[str]:
        """Targets whose model it can hold, the preferred first."""

    def fill(self, source: Source, folder: Path) -> Filled:
        """Writes model, vocabulary and whatever else it needs to run into an empty folder.

        Raises:
            ConfpressError: the model cannot run there; the sentence says why.
        """


def write_speech_files(source: Source, folder: Path) -> None:
    """Writes the vocabulary and the front end."""
    assert source.model.tokens is not None, "checked when the result was opened"
    source.model.tokens.save(folder / TOKENS_NAME)
    source.model.frontend.save(folder / FRONTEND_NAME)
