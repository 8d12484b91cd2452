"""The smallest plan of formats that keeps the word error rate, found in a few trials."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx_ir as ir

from ...passes.errors import ConfpressError
from ...passes.format_plan import FormatPlan
from ...runtime.cache import Cache
from ...runtime.machine import usable_cores
from ...runtime.model_file import save_model
from ...runtime.recognition.asr import AsrModel, FeatureCache, Transcript, transcribe
from ...runtime.recognition.transcripts import SpeechCache
from ...runtime.session import SessionOptions, create_session
from ...runtime.speech.manifest import Utterance
from ...runtime.validation.validate import RateComparison, compare_speech
from ..text import percent, points, points_interval
from .budget import Allocation

#: Word error rates of the original and of a plan that is carried out.
Judge = Callable[[FormatPlan], RateComparison]
#: Plans whose words are judged behind the largest; the range of sizes, about three octaves, comes
#: down to a tenth of one.
TRIALS = 5


@dataclass(frozen=True)
class SelectionSpeech:
    """Speech with texts that plans are judged by.

    Attributes:
        original: The float32 model, with its vocabulary.
        utterances: The speech; all of it has texts.
        content: Hash of its audio, by path.
        cache: What was heard before.
        tell: Is told of every trial, in a sentence.
    """

    original: AsrModel
    utterances: Sequence[Utterance]
    content: Mapping[Path, str]
    cache: Cache
    tell: Callable[[str], object]

    @cached_property
    def _features(self) -> FeatureCache:
        return FeatureCache(self.original.frontend)

    @cached_property
    def _expected(self) -> list[Transcript]:
        return self._heard(self.original)

    def compare(self, model: ir.Model) -> RateComparison:
        """Word error rates of the original and of a model.

        Raises:
            ConfpressError: a model cannot be run, or the original hears nothing.
        """
        with tempfile.TemporaryDirectory(prefix="confpress-") as folder:
            path = Path(folder) / "model.onnx"
            save_model(model, path)
            heard = self._heard(self.original.with_model(path))
        words = compare_speech(self.utterances, self._expected, heard).words
        assert words is not None, "all utterances have texts"
        return words

    def _heard(self, model: AsrModel) -> list[Transcript]:
        options = SessionOptions(threads=usable_cores())
        # The models of trials have names that say nothing.
        known = SpeechCache(Cache(self.cache.folder), self.content).of(model, options)
        session = create_session(model.path, options)
        return transcribe(model, session, self.utterances, cache=self._features, known=known)


def smallest_plan(
    within: Callable[[int], Allocation],
    judge: Judge,
    sizes: tuple[int, int],
    limit: float,
    tell: Callable[[str], object],
    hint: str = "",
) -> tuple[Allocation, tuple[str, ...]]:
    """Halves the range of sizes, on a logarithmic scale, by what the words say.

    The largest plan is judged first: where convolutions are int8, it may fail as well. Word errors
    are counts and no smooth function of the size, so that a smaller plan may keep the limit too;
    what is returned was found to keep it.

    Args:
        within: The best plan whose weights take at most so many bytes.
        judge: Tells the words of a plan.
        sizes: Bytes of the smallest and of the largest plan.
        limit: Points that the rate may rise by.
        tell: Is told of every trial.
        hint: What else may lose words, in a sentence, for the error.

    Returns:
        The smallest plan that was found to keep the limit, and a sentence for every trial.

    Raises:
        ConfpressError: no plan keeps it, or none the other limits.
    """
    least, most = sizes
    kept = within(most)
    notes: list[str] = []

    def keeps(plan: Allocation) -> bool:
        words = judge(plan.plan)
        fits = 100 * words.difference <= limit
        notes.append(
            f"{plan.bytes / 1e6:.2f} MB of weights: WER {percent(words.candidate.rate)}, "
            f"{points(words.difference)} points to float32 (95 % interval "
            f"{points_interval(words.difference_interval)}), which is "
            f"{'within' if fits else 'above'} the limit of {limit:g}."
        )
        tell(notes[-1])
        return fits

    if not keeps(kept):
        raise ConfpressError(
            f"no plan of formats keeps the word error rate within {limit:g} points, not even the "
            f"largest: {notes[-1]} {hint}".rstrip()
        )
    for _ in range(TRIALS):
        size = round(math.sqrt(least * most))
        try:
            plan = within(size)
        except ConfpressError:  # so small a plan does not keep the limit on the latency
            least = size
            continue
        if keeps(plan):
            kept, most = plan, plan.bytes
        else:
            least = size
    return kept, tuple(notes)
