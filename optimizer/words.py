"""What models hear in the validation speech, beside what the original hears."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from pydantic import TypeAdapter

from ..passes.errors import ConfpressError
from ..runtime.fingerprint import digest
from ..runtime.gpu import why_no_gpu
from ..runtime.kernels import library_path
from ..runtime.machine import usable_cores
from ..runtime.recognition.asr import AsrModel, FeatureCache, Transcript, transcribe
from ..runtime.recognition.transcripts import SpeechCache
from ..runtime.session import DEFAULT_OPTIONS, SessionOptions, create_session
from ..runtime.validation.validate import SpeechComparison, compare_speech
from .job import Job
from .steps import Steps

_HEARD = TypeAdapter(list[Transcript])


@dataclass(frozen=True)
class Words:
    """The validation speech of a run.

    Attributes:
        job: Inputs and recipe.
        steps: Does what no interrupted run had finished.
    """

    job: Job
    steps: Steps

    @cached_property
    def has_kernels(self) -> bool:
        """Whether the kernel library is built here."""
        try:
            library_path()
        except ConfpressError:
            return False
        return True

    @cached_property
    def why_no_gpu(self) -> str | None:
        """Why target `cuda` cannot run on a GPU here, in a sentence; None where it can."""
        return why_no_gpu()

    def options_of(self, target: str) -> SessionOptions:
        """`options` for a target's model: on the GPU if it is made for one and one is there."""
        if target != "cuda" or self.why_no_gpu is not None:
            return self.options
        return dataclasses.replace(self.options, provider="cuda")

    @property
    def options(self) -> SessionOptions:
        """How models are run where time is not measured: fast, and kind to a busy machine."""
        return SessionOptions(
            threads=usable_cores(),
            kernels=self.has_kernels,
            config=(("session.intra_op.allow_spinning", "0"),),
        )

    @property
    def key(self) -> str:
        """Stands for the original, the speech and its texts, and how models are run."""
        speech = [(each, self.job.content[each.path]) for each in self.job.validation]
        return digest(self.job.key, self.options, speech)

    @cached_property
    def features(self) -> FeatureCache:
        """Features that all models of the run share."""
        return FeatureCache(self.job.original.frontend)

    @property
    def known(self) -> SpeechCache:
        """What models were found to hear before."""
        return SpeechCache(self.job.cache, self.job.content)

    @cached_property
    def heard(self) -> list[Transcript] | None:
        """What the original hears; None without speech.

        Raises:
            ConfpressError: as `transcribe`.
        """
        job = self.job
        if not job.validation:
            return None
        return self.steps.run(
            self.key,
            "validate.original",
            "transcribe with the original",
            _HEARD,
            lambda _: transcribe(
                job.original,
                job.session,
                job.validation,
                cache=self.features,
                known=self.known.of(job.original, DEFAULT_OPTIONS),
            ),
        )

    def compare(self, model: AsrModel) -> SpeechComparison:
        """What a model hears beside the original; there is speech.

        Raises:
            ConfpressError: as `transcribe`.
        """
        found = transcribe(
            model,
            create_session(model.path, self.options),
            self.job.validation,
            cache=self.features,
            known=self.known.of(model, self.options),
        )
        return compare_speech(self.job.validation, self.heard or [], found)
