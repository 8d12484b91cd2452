"""The bundle: a model with everything that it needs to run on a device with numpy alone."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.kernels import describe
from ...runtime.model_file import model_files, opset_domains
from ...runtime.session import KERNEL_DOMAIN_PREFIX
from ...runtime.speech.manifest import Utterance
from ...runtime.transducer import DECODER_FILE, JOINER_FILE
from .check import Checked, same_texts, transcripts
from .kind import Filled, write_speech_files
from .manifest import Kind, PackagedKernels
from .programs import programs_usage, write_programs
from .source import TARGETS, Source


@dataclass(frozen=True)
class Bundle:
    """A folder that runs with numpy and ONNX Runtime, kernels and programs included."""

    name: Kind = "bundle"
    targets: Sequence[str] = TARGETS

    def fill(self, source: Source, folder: Path) -> Filled:
        """Copies the model, the kernel library where the model uses it, and the programs."""
        for path in model_files(source.model.path):
            shutil.copyfile(path, folder / path.name)
        source.model.search.copy_to(folder)
        write_speech_files(source, folder)
        write_programs(folder)
        usage = programs_usage(source.model.frontend.sample_rate)
        return Filled(
            source.model.path.name,
            usage,
            _copy_kernels(source, folder),
            transducer=(DECODER_FILE, JOINER_FILE) if source.model.search.files else None,
        )

    def check(self, folder: Path, source: Source, clips: Sequence[Utterance]) -> Checked:
        """`transcribe.py` must hear what the result's model does."""
        return same_texts(source, clips, transcripts(folder / "transcribe.py", clips))


def _copy_kernels(source: Source, folder: Path) -> PackagedKernels | None:
    """Copies the kernel library, where the model uses operators of ours."""
    domains = opset_domains(source.model.path)
    if not any(domain.startswith(KERNEL_DOMAIN_PREFIX) for domain in domains):
        return None
    info = describe()
    place = Path("lib") / platform.machine() / info.path.name
    (folder / place.parent).mkdir(parents=True)
    shutil.copyfile(info.path, folder / place)
    return PackagedKernels(
        file=place.as_posix(),
        architecture=platform.machine(),
        paths=info.built,
        compiler=info.compiler,
    )
