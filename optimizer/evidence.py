"""The pipeline's second part: what the models say, how fast they are, where their time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from ..passes.errors import ConfpressError
from ..runtime.audit.layers import Audit, audit
from ..runtime.benchmark.bench import BenchOptions, BenchResult, bench
from ..runtime.environment import describe_environment
from ..runtime.fingerprint import digest, model_digest, program_digest
from ..runtime.profile.modules import ModuleProfile, profile_modules
from ..runtime.recognition.asr import AsrModel
from ..runtime.record import Record
from ..runtime.session import SessionOptions
from ..runtime.speech.manifest import Utterance
from ..runtime.validation.layerwise import ModuleDifference, compare_modules
from ..runtime.validation.validate import SECONDS, Validation, validate
from .cuda.evidence import CUDA, GpuEvidence, measure_on_gpu, note_of, skip_gpu
from .gate import Verdict, judge
from .job import Job
from .pipeline import INTERCHANGE
from .planned import check_planned
from .recorder import Notes
from .report.schema import ORIGINAL
from .steps import Steps
from .words import Words

#: The report names this many of the slowest nodes; all operators are in it.
_SLOWEST_NODES = 20
_PROFILE_RUNS = 5
_BENCHMARK = ("bench", "measure latency, models in turn")
#: Where two errors are only told apart, one length and fewer chunks are enough.
_validate_briefly = partial(validate, seconds=SECONDS[:1], chunks=50)


@dataclass
class Evidence:
    """What was measured; empty where it was not.

    Attributes:
        audit: Which kernel each layer of a target runs on, by target.
        validation: Every model against the original, by name.
        lowering: Every target against the interchange model, by target.
        verdict: The answer about the word error rate.
        benchmark: Latency of the original and the targets of the CPU.
        cuda_note: What the figures of target ``cuda`` are of; None where it was not made.
        gpu: What a GPU tells of target ``cuda``; None without one.
        modules: Each target against the original, module by module, by name.
        profile: Time by module and operator, by name.
        notes: What was left out and why.
    """

    audit: dict[str, Audit] = field(default_factory=dict)
    validation: dict[str, Validation] = field(default_factory=dict)
    lowering: dict[str, Validation] = field(default_factory=dict)
    verdict: Verdict | None = None
    benchmark: BenchResult | None = None
    cuda_note: str | None = None
    gpu: GpuEvidence | None = None
    modules: dict[str, tuple[ModuleDifference, ...]] = field(default_factory=dict)
    profile: dict[str, ModuleProfile] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class ModelEvidence(Record):
    """What one model of the result says."""

    validation: Validation
    lowering: Validation | None
    modules: tuple[ModuleDifference, ...]
    note: str | None


_AUDIT = TypeAdapter(Audit)
_MODEL = TypeAdapter(ModelEvidence)
_BENCH = TypeAdapter(BenchResult)
_PROFILE = TypeAdapter(dict[str, ModuleProfile])


def gather(models: Mapping[str, AsrModel], words: Words) -> Evidence:
    """Validates and measures the models of a run.

    Args:
        models: The interchange model and the targets' models, by name.
        words: The validation speech, with the run that it belongs to.

    Raises:
        ConfpressError: a model cannot be run, layers of it do not run as planned, or audio cannot
            be read.
    """
    evidence, job, steps = Evidence(), words.job, words.steps
    kernels = words.has_kernels
    if not kernels:
        evidence.notes.append(
            "The kernel library is not built here, so target cpu ran by its function bodies: "
            "its latency is not that of a machine with the library."
        )
    targets = {name: model for name, model in models.items() if name != INTERCHANGE}
    for name, model in targets.items():
        if name == CUDA:
            evidence.cuda_note = note_of(words.why_no_gpu)
        else:
            evidence.audit[name] = _audit(name, model, steps, kernels)
    _validate(models, evidence, words)
    limit = job.recipe.validation.max_wer_increase
    if limit is not None:
        speech = {n: v.speech for n, v in evidence.validation.items() if v.speech is not None}
        evidence.verdict = judge({name: speech[name] for name in targets}, limit)
    if not job.recipe.bench.enabled:
        steps.recorder.skip(*_BENCHMARK, "the recipe switches it off")
        evidence.notes.append("Latency was not measured: the recipe switches it off.")
        return evidence
    _measure(targets, evidence, words)
    return evidence


def _audit(name: str, model: AsrModel, steps: Steps, kernels: bool) -> Audit:
    """Which kernel each layer runs on; refuses what does not run as planned."""
    options = SessionOptions(kernels=kernels)
    found = steps.run(
        digest("audit", program_digest(), model_digest(model.path), options),
        f"audit.{name}",
        "find the kernel that each layer runs on",
        _AUDIT,
        lambda _: audit(model.path, options),
    )
    check_planned(found, name, kernels=kernels)
    # An interrupted run had its models elsewhere.
    return found.model_copy(update={"model": str(model.path)})


def _validate(models: Mapping[str, AsrModel], evidence: Evidence, words: Words) -> None:
    """What every model hears and gives, beside the original."""
    job = words.job
    if words.heard is None:
        evidence.notes.append(
            "No word error rate: no speech with texts was given (--validation). Outputs were "
            "compared on noise that resembles speech."
        )
    for name, model in models.items():
        found = words.steps.run(
            digest(
                words.key,
                name,
                words.options_of(name),
                _identity(job.original, models[INTERCHANGE], model),
            ),
            f"validate.{name}",
            "compare with the original",
            _MODEL,
            partial(_judge_model, words, models[INTERCHANGE], name, model),
        )
        evidence.validation[name] = found.validation
        if found.lowering is not None:
            evidence.lowering[name] = found.lowering
            evidence.modules[name] = found.modules
        if found.note is not None:
            evidence.notes.append(found.note)


def _judge_model(
    words: Words, interchange: AsrModel, name: str, model: AsrModel, _: Notes
) -> ModelEvidence:
    """A target by numbers and words; the interchange model by numbers, to tell errors apart."""
    job, options = words.job, words.options
    if model is interchange:
        # Slow where nothing fuses its QDQ nodes: one length tells quantisation and lowering apart.
        found = _validate_briefly(job.original, model, options=options)
        return ModelEvidence(validation=found, lowering=None, modules=(), note=None)
    validation = validate(
        job.original,
        model,
        job.validation,
        options=options,
        candidate_options=words.options_of(name),
        reference_heard=words.heard,
        cache=words.features,
        known=words.known,
    )
    if name == CUDA:
        # It was not lowered from the interchange model, and float16 flows between its modules;
        # times along a stream would be those of a processor that it is not made for, or of two.
        validation = validation.model_copy(update={"stream": None})
        return ModelEvidence(validation=validation, lowering=None, modules=(), note=None)
    modules: tuple[ModuleDifference, ...] = ()
    note = None
    try:
        modules = compare_modules(job.original, model, job.validation, options)
    except ConfpressError as error:
        note = f"Errors were not told module by module: {error}"
    return ModelEvidence(
        validation=validation,
        lowering=_validate_briefly(interchange, model, options=options),
        modules=modules,
        note=note,
    )


def _identity(*models: AsrModel) -> list[tuple[Path, str]]:
    """Which files models are, and what these hold."""
    return [(model.path, model_digest(model.path)) for model in models]


def _measure(targets: Mapping[str, AsrModel], evidence: Evidence, words: Words) -> None:
    """Latency and profile, each measured in one go: an interrupted measurement begins anew."""
    job, steps, timing = words.job, words.steps, words.job.timing
    _tell_cases(job, evidence)
    speech = job.validation or (job.calibration.utterances if job.calibration else ())
    options = BenchOptions(
        seconds=timing.seconds,
        batches=timing.batches,
        threads=timing.threads,
        rounds=timing.rounds,
        memory=timing.memory,
        kernels=words.has_kernels,
    )
    machine = describe_environment().model_copy(update={"load_average": None})
    audio = [job.content[utterance.path] for utterance in speech]
    base = digest(job.key, machine, options, audio)
    cuda = targets.get(CUDA)
    if cuda is not None and words.why_no_gpu is not None:
        skip_gpu(words.why_no_gpu, steps)
    elif cuda is not None:
        key = digest(base, CUDA, _identity(job.original, cuda))
        evidence.gpu = measure_on_gpu(key, job.original, cuda, options, speech, steps)
        evidence.notes.append(f"Target cuda: {evidence.gpu.placement.sentence}")
    compared = {name: model for name, model in targets.items() if name != CUDA}
    if not compared:
        steps.recorder.skip(*_BENCHMARK, "cuda is the only target, and it is not for the CPU")
        return
    compared = {ORIGINAL: job.original, **compared}
    key = digest(base, _identity(*compared.values()))
    evidence.benchmark = steps.run(
        key,
        *_BENCHMARK,
        _BENCH,
        lambda _: bench(list(compared.values()), options, speech),
    )
    evidence.profile = steps.run(
        digest(key, _PROFILE_RUNS),
        "profile",
        "measure time by module and operator",
        _PROFILE,
        lambda _: {name: _profile(model, options, speech) for name, model in compared.items()},
    )


def _profile(model: AsrModel, options: BenchOptions, speech: Sequence[Utterance]) -> ModuleProfile:
    found = profile_modules(
        model,
        options.session(options.threads[0]),
        seconds=options.seconds[0],
        batch=options.batches[0],
        runs=_PROFILE_RUNS,
        utterances=speech,
    )
    return _short(found)


def _short(found: ModuleProfile) -> ModuleProfile:
    """The slowest nodes alone: a report of every node would be mostly that."""
    whole = found.whole.model_copy(update={"nodes": found.whole.nodes[:_SLOWEST_NODES]})
    return found.model_copy(update={"whole": whole})


def _tell_cases(job: Job, evidence: Evidence) -> None:
    """Says where the models do not take what the recipe wants measured."""
    wanted, timing = job.recipe.bench, job.timing
    if (timing.seconds, timing.batches) != (wanted.seconds, wanted.batches):
        listed = ", ".join(f"{seconds:g}" for seconds in timing.seconds)
        evidence.notes.append(
            f"Latency was measured for {listed} s of audio in batches of "
            f"{', '.join(map(str, timing.batches))}, as the models take no other."
        )
