"""Target ``cuda`` on the GPU: where its operators run and how fast it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pydantic import TypeAdapter

from ...runtime.audit.placement import Placement, placement
from ...runtime.benchmark.bench import BenchOptions, BenchResult, bench
from ...runtime.profile.operators import profile
from ...runtime.recognition.asr import AsrModel
from ...runtime.record import Record
from ...runtime.speech.manifest import Utterance
from ..steps import Steps

#: The target whose hardware may not be there.
CUDA = "cuda"
#: Where operators run does not change from run to run.
_RUNS = 1
_STEP = ("bench.cuda", "measure latency on the GPU, and where operators run there")


class GpuEvidence(Record):
    """What a GPU tells of a model."""

    placement: Placement
    benchmark: BenchResult


_EVIDENCE = TypeAdapter(GpuEvidence)


def note_of(why_no_gpu: str | None) -> str:
    """What the figures of target ``cuda`` are of, in a sentence.

    Args:
        why_no_gpu: Why no GPU can be used here, as a sentence; None where one was.
    """
    if why_no_gpu is None:
        return "Figures of cuda are of the GPU, and its speed-up is over the original there."
    return (
        "Figures of cuda are of ONNX Runtime's CPU provider, and its speed was not measured, as "
        f"no GPU can be used here: {why_no_gpu}"
    )


def measure_on_gpu(
    key: str,
    original: AsrModel,
    model: AsrModel,
    options: BenchOptions,
    utterances: Sequence[Utterance],
    steps: Steps,
) -> GpuEvidence:
    """Measures the original and target ``cuda`` in turn, both on the GPU.

    Args:
        key: Stands for the models, the options, the speech and the machine.
        original: The model that was given.
        model: The target's.
        options: As for processors; the first number of threads is taken.
        utterances: Speech that they read; noise without it.
        steps: Does what no interrupted run had finished.

    Raises:
        ConfpressError: a model cannot be run on the GPU.
    """
    options = dataclasses.replace(options, provider="cuda", threads=options.threads[:1])

    def measured() -> GpuEvidence:
        traced = profile(
            model,
            options.session(options.threads[0]),
            seconds=options.seconds[0],
            batch=options.batches[0],
            runs=_RUNS,
            utterances=utterances,
        )
        return GpuEvidence(
            placement=placement(traced.nodes, "cuda"),
            benchmark=bench([original, model], options, utterances),
        )

    return steps.run(key, *_STEP, _EVIDENCE, lambda _: measured())


def skip_gpu(reason: str, steps: Steps) -> None:
    """Records that nothing was measured on a GPU, and why."""
    steps.recorder.skip(*_STEP, reason)
