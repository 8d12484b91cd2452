"""Which parts of target ``cuda`` stay float32, as a step of a run."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ...passes.base import Journal, PassResult, run
from ...passes.errors import ConfpressError
from ...passes.lower.cuda import LowerCuda
from ...runtime.recognition.asr import AsrModel
from ...runtime.session import SessionOptions
from ...runtime.speech.manifest import Utterance
from ..recipe.recipe import Recipe
from .half import float32_parts


def choose_float32(
    model: ir.Model,
    original: AsrModel,
    recipe: Recipe,
    utterances: Sequence[Utterance],
    options: SessionOptions,
) -> tuple[tuple[str, ...], PassResult]:
    """Measures float16 on a model in float32 with its low-bit layers lowered for ``cuda``.

    Args:
        model: As it will be lowered; it is changed.
        original: Tells how it is fed.
        recipe: Says what must be kept.
        utterances: Speech that is measured on; noise without it.
        options: How it is run.

    Returns:
        Ids of the layers and blocks that stay float32, and what was found, in sentences.

    Raises:
        ConfpressError: the lowered model cannot be run here, as with weights in FP8 and no GPU.
    """
    lowered = run([LowerCuda(sparse=recipe.cuda.sparse)], model).model
    least = recipe.cuda.least_db
    try:
        parts = float32_parts(
            lowered,
            original,
            least,
            utterances,
            longest=recipe.positions.max_seconds,
            options=options,
        )
    except ConfpressError as error:
        raise ConfpressError(f"target cuda does not run here to be judged: {error}") from error
    journal = Journal()
    for part in parts:
        journal.refuse(part, f"stays float32, as the outputs fall below {least:g} dB with less")
    return parts, journal.result(lowered, modified=False)
