"""The table that comes first: size, words and latency, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...runtime.benchmark.bench import Timing
from ...runtime.validation.validate import RateComparison
from ..cuda.evidence import CUDA
from ..evidence import Evidence
from ..pipeline import INTERCHANGE
from .schema import ORIGINAL, ModelRecord, SummaryRow


def summarise(models: Sequence[ModelRecord], evidence: Evidence) -> tuple[SummaryRow, ...]:
    """One row for the original, one for each target.

    Args:
        models: All models, the original first, targets in the order they were measured.
        evidence: What was measured.
    """
    shown = [model for model in models if model.name != INTERCHANGE]
    words = {
        name: validation.speech.words
        for name, validation in evidence.validation.items()
        if validation.speech is not None
    }
    timings = _timings(evidence)
    original = shown[0]
    # Every comparison has the original's rate, on the same utterances.
    first = next((comparison for comparison in words.values() if comparison is not None), None)
    return tuple(
        _row(model, original, words.get(model.name, first), timings, evidence) for model in shown
    )


def _timings(evidence: Evidence) -> dict[str, tuple[Timing, str]]:
    """Latency in the first case and its provider, by path; the CPU's where there are both."""
    gpu = evidence.gpu.benchmark if evidence.gpu is not None else None
    measured = [found for found in (gpu, evidence.benchmark) if found is not None]
    return {
        timing.model: (timing, found.provider)
        for found in measured
        for timing in found.cases[0].timings
    }


def _row(
    model: ModelRecord,
    original: ModelRecord,
    words: RateComparison | None,
    timings: Mapping[str, tuple[Timing, str]],
    evidence: Evidence,
) -> SummaryRow:
    is_original = model.name == ORIGINAL
    timing, provider = timings.get(model.path, (None, "cpu"))
    rate = None
    if words is not None:
        rate = words.reference if is_original else words.candidate
    return SummaryRow(
        name=model.name,
        bytes=model.bytes,
        smaller=original.bytes / model.bytes,
        wer=rate.rate if rate else None,
        wer_interval=rate.interval if rate else None,
        wer_increase=words.difference_interval if words and not is_original else None,
        p50_ms=timing.p50_ms if timing else None,
        faster=timing.speedup.median if timing and timing.speedup else None,
        provider=provider,
        note=evidence.cuda_note if model.name == CUDA else None,
    )
