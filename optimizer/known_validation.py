"""A validation that was done before is not done again."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from ..runtime.cache import Cache
from ..runtime.fingerprint import digest, model_digest, program_digest
from ..runtime.recognition.asr import AsrModel
from ..runtime.recognition.transcripts import SpeechCache
from ..runtime.record import Record
from ..runtime.session import SessionOptions
from ..runtime.speech.content import audio_digests
from ..runtime.speech.manifest import Utterance
from ..runtime.validation.layerwise import ModuleDifference, compare_modules
from ..runtime.validation.validate import Validation, validate
from .result.decisions import refuse_calibrated_model


class Found(Record):
    """Two models on the same data."""

    validation: Validation
    modules: tuple[ModuleDifference, ...] | None


def validate_once(
    reference: AsrModel,
    candidate: AsrModel,
    utterances: Sequence[Utterance],
    options: SessionOptions,
    *,
    candidate_options: SessionOptions | None = None,
    batch_size: int,
    layers: bool,
    cache: Cache,
) -> Found:
    """Compares two models, as far as that is not known from an earlier run.

    Streaming models are compared anew, as their time is measured; what they hear may be known.

    Args:
        reference: The model that counts as right.
        candidate: The other one.
        utterances: Speech to transcribe.
        options: How both are run.
        candidate_options: How the other one is run, if not so.
        batch_size: Utterances that are transcribed together.
        layers: Whether errors are told module by module.
        cache: What is known; it takes up what is found.

    Raises:
        ConfpressError: as `validate` and `compare_modules`, or speech set ranges of a model.
    """
    content = audio_digests(utterances, reference.frontend.sample_rate)
    models = (reference, candidate)
    for model in models:
        refuse_calibrated_model(model.path, utterances, content)
    key = digest(
        program_digest(),
        [(model, [model_digest(path) for path in model.files]) for model in models],
        [(utterance, content[utterance.path]) for utterance in utterances],
        (options, candidate_options),
        batch_size,
        layers,
    )
    name = f"validation-{key}.json"
    timed = any(model.interface.states for model in models)
    found = None if timed else _read(cache, name)
    if found is not None:
        cache.tell("This validation is known from an earlier run (--no-cache repeats it).")
        return found
    found = Found(
        validation=validate(
            reference,
            candidate,
            utterances,
            options=options,
            candidate_options=candidate_options,
            batch_size=batch_size,
            known=SpeechCache(cache, content),
        ),
        modules=compare_modules(reference, candidate, utterances, options) if layers else None,
    )
    cache.write(name, found.model_dump_json().encode())
    return found


def _read(cache: Cache, name: str) -> Found | None:
    data = cache.read(name)
    if data is None:
        return None
    try:
        return Found.model_validate_json(data)
    except ValidationError:
        cache.ignored(name)
        return None
