"""Which fusions gain on this machine: the model with all of them, and without each, in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx_ir as ir

from ..passes.base import Journal, PassResult
from ..runtime.benchmark.bench import BenchOptions, bench
from ..runtime.benchmark.timing import Ratio
from ..runtime.model_file import save_model
from ..runtime.recognition.asr import AsrModel
from .fusions import FUSIONS
from .recipe.recipe import BenchSection, Fusion, Target

#: A machine's noise hides smaller differences from everybody but the clock.
_WORTH = 1.02
_ROUNDS = 12

#: The lowered model without the fusions named.
Lower = Callable[[tuple[Fusion, ...]], PassResult]


def choose_fusions(
    target: Target, lower: Lower, original: AsrModel, options: BenchSection
) -> tuple[tuple[Fusion, ...], PassResult]:
    """Times a target's model without each fusion that does something to it.

    Two models at a time are in memory.

    Args:
        target: The target.
        lower: Makes its models.
        original: Tells how they are fed.
        options: The first benchmark case is what is timed.

    Returns:
        The fusions without which the model is faster, beyond the noise and by more than 2 %; and
        what was measured, in sentences.

    Raises:
        ConfpressError: a model cannot be run.
    """
    case = BenchOptions(
        seconds=options.seconds[:1],
        batches=options.batches[:1],
        threads=options.threads[:1],
        rounds=_ROUNDS,
        memory=False,
    )
    whole = lower(())
    gains: dict[Fusion, Ratio] = {}
    with tempfile.TemporaryDirectory(prefix="confpress-") as folder:
        every = _saved(whole.model, Path(folder) / "every.onnx", original)
        for name in FUSIONS[target]:
            without = lower((name,))
            if without.changes == whole.changes:  # it found nothing to fuse
                continue
            rest = _saved(without.model, Path(folder) / "without.onnx", original)
            gain = bench([rest, every], case).cases[0].timings[1].speedup
            assert gain is not None, "the second model is compared with the first"
            gains[name] = gain
    slower = tuple(name for name, gain in gains.items() if _loses(gain))
    return slower, _said(gains, whole.model)


def _saved(model: ir.Model, path: Path, original: AsrModel) -> AsrModel:
    save_model(model, path)
    return original.with_model(path)


def _loses(gain: Ratio) -> bool:
    return gain.different and gain.median < 1 / _WORTH


def _said(gains: Mapping[Fusion, Ratio], model: ir.Model) -> PassResult:
    journal = Journal()
    for name, gain in gains.items():
        measured = f"{gain.median:.2f} times as fast with it ({gain.low:.2f} to {gain.high:.2f})"
        if _loses(gain):
            journal.refuse(name, f"left out: the model is {measured} on this machine")
        else:
            journal.change(name, f"the model is {measured}")
    return journal.result(model, modified=False)
