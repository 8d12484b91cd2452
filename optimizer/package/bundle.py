"""The bundle: a model with everything that it needs to run on a device with numpy alone."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...passes.errors import ConfpressError
from ...runtime.model_file import model_files, opset_domains
from ...runtime.recognition.transducer import DECODER_FILE, JOINER_FILE
from ...runtime.session import KERNEL_DOMAIN_PREFIX
from ...runtime.speech.manifest import Utterance
from .check import Checked, same_texts, transcripts
from .kind import Filled, write_speech_files
from .libraries import copy_libraries
from .manifest import Kind, PackagedKernels
from .programs import programs_usage, write_programs
from .source import TARGETS, Source


@dataclass(frozen=True)
class Bundle:
    """A folder that runs with numpy and ONNX Runtime, kernels and programs included.

    Attributes:
        libraries: Kernel libraries for other architectures.
    """

    libraries: Sequence[Path] = ()
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
            self._kernels(source, folder),
            transducer=(DECODER_FILE, JOINER_FILE) if source.model.search.files else None,
        )

    def check(self, folder: Path, source: Source, clips: Sequence[Utterance]) -> Checked:
        """`transcribe.py` must hear what the result's model does."""
        return same_texts(source, clips, transcripts(folder / "transcribe.py", clips))

    def _kernels(self, source: Source, folder: Path) -> tuple[PackagedKernels, ...]:
        """Copies kernel libraries, where the model uses operators of ours."""
        domains = opset_domains(source.model.path)
        if any(domain.startswith(KERNEL_DOMAIN_PREFIX) for domain in domains):
            return copy_libraries(self.libraries, folder)
        if self.libraries:
            raise ConfpressError(
                f"the model of target {source.target} uses no kernel library; leave "
                "--kernel-library out, or take --target cpu."
            )
        return ()
