"""The pipeline's second part: what the models say, how fast they are, where their time goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..passes.errors import ConfpressError
from ..runtime.asr import AsrModel, FeatureCache, transcribe
from ..runtime.bench import BenchOptions, BenchResult, bench
from ..runtime.kernels import library_path
from ..runtime.layerwise import ModuleDifference, compare_modules
from ..runtime.machine import usable_cores
from ..runtime.module_profile import ModuleProfile, profile_modules
from ..runtime.session import SessionOptions
from ..runtime.speech.manifest import Utterance
from ..runtime.validate import SECONDS, Validation, validate
from .gate import Verdict, judge
from .job import Job
from .pipeline import INTERCHANGE
from .recorder import Recorder
from .report_schema import ORIGINAL

#: The report names this many of the slowest nodes; all operators are in it.
_SLOWEST_NODES = 20
_PROFILE_RUNS = 5


@dataclass
class Evidence:
    """What was measured; empty where it was not.

    Attributes:
        validation: Every model against the original, by name.
        lowering: Every target against the interchange model, by target.
        verdict: The answer about the word error rate.
        benchmark: Latency of the original and the targets.
        modules: Each target against the original, module by module, by name.
        profile: Time by module and operator, by name.
        notes: What was left out and why.
    """

    validation: dict[str, Validation] = field(default_factory=dict)
    lowering: dict[str, Validation] = field(default_factory=dict)
    verdict: Verdict | None = None
    benchmark: BenchResult | None = None
    modules: dict[str, tuple[ModuleDifference, ...]] = field(default_factory=dict)
    profile: dict[str, ModuleProfile] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def gather(job: Job, models: Mapping[str, AsrModel], recorder: Recorder) -> Evidence:
    """Validates and measures the models of a run.

    Args:
        job: Inputs and recipe.
        models: The interchange model and the targets' models, by name.
        recorder: Where the stages are recorded.

    Raises:
        ConfpressError: a model cannot be run, or audio cannot be read.
    """
    evidence = Evidence()
    kernels = _has_kernels(evidence)
    targets = {name: model for name, model in models.items() if name != INTERCHANGE}
    with recorder.stage("validate", "compare the results with the original"):
        _validate(job, models, evidence, _all_cores(kernels))
    limit = job.recipe.validation.max_wer_increase
    if limit is not None:
        speech = {n: v.speech for n, v in evidence.validation.items() if v.speech is not None}
        evidence.verdict = judge({name: speech[name] for name in targets}, limit)
    about = "measure latency, models in turn, and time by operator"
    if not job.recipe.bench.enabled:
        recorder.skip("bench", about, "the recipe switches it off")
        evidence.notes.append("Latency was not measured: the recipe switches it off.")
        return evidence
    with recorder.stage("bench", about):
        _measure(job, targets, evidence, kernels)
    return evidence


def _all_cores(kernels: bool) -> SessionOptions:
    """How models are run where time is not measured: fast, and kind to a busy machine."""
    return SessionOptions(
        threads=usable_cores(),
        kernels=kernels,
        config=(("session.intra_op.allow_spinning", "0"),),
    )


def _has_kernels(evidence: Evidence) -> bool:
    try:
        library_path()
    except ConfpressError:
        evidence.notes.append(
            "The kernel library is not built here, so target cpu ran by its function bodies: "
            "its latency is not that of a machine with the library."
        )
        return False
    return True


def _validate(
    job: Job, models: Mapping[str, AsrModel], evidence: Evidence, options: SessionOptions
) -> None:
    """Targets by numbers and words; the interchange model by numbers, to tell errors apart."""
    heard, cache = None, FeatureCache(job.original.frontend)
    if job.validation:
        heard = transcribe(job.original, job.session, job.validation, cache=cache)
    else:
        evidence.notes.append(
            "No word error rate: no speech with texts was given (--validation). Outputs were "
            "compared on noise that resembles speech."
        )
    speech: tuple[Utterance, ...] = job.validation
    for name, model in models.items():
        evidence.validation[name] = validate(
            job.original,
            model,
            () if name == INTERCHANGE else speech,
            options=options,
            # The interchange model is slow where nothing fuses its QDQ nodes: one length tells
            # quantisation and lowering apart.
            seconds=SECONDS[:1] if name == INTERCHANGE else SECONDS,
            reference_heard=heard,
            cache=cache,
        )
        if name != INTERCHANGE:
            evidence.modules[name] = _by_module(job, model, evidence, options)
            evidence.lowering[name] = validate(
                models[INTERCHANGE], model, options=options, seconds=SECONDS[:1]
            )


def _by_module(
    job: Job, model: AsrModel, evidence: Evidence, options: SessionOptions
) -> tuple[ModuleDifference, ...]:
    try:
        return compare_modules(job.original, model, job.validation, options)
    except ConfpressError as error:
        evidence.notes.append(f"Errors were not told module by module: {error}")
        return ()


def _measure(job: Job, targets: Mapping[str, AsrModel], evidence: Evidence, kernels: bool) -> None:
    recipe = job.recipe.bench
    speech = job.validation or (job.calibration.utterances if job.calibration else ())
    durations, batches = _cases(job, evidence)
    options = BenchOptions(
        seconds=durations,
        batches=batches,
        threads=recipe.threads,
        rounds=recipe.rounds,
        memory=recipe.memory,
        kernels=kernels,
    )
    compared = {ORIGINAL: job.original, **targets}
    evidence.benchmark = bench(list(compared.values()), options, speech)
    for name, model in compared.items():
        found = profile_modules(
            model,
            options.session(recipe.threads[0]),
            seconds=durations[0],
            batch=batches[0],
            runs=_PROFILE_RUNS,
            utterances=speech,
        )
        evidence.profile[name] = _short(found)


def _short(found: ModuleProfile) -> ModuleProfile:
    """The slowest nodes alone: a report of every node would be mostly that."""
    whole = found.whole.model_copy(update={"nodes": found.whole.nodes[:_SLOWEST_NODES]})
    return found.model_copy(update={"whole": whole})


def _cases(job: Job, evidence: Evidence) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The recipe's durations and batch sizes, as far as the models take them."""
    recipe, face = job.recipe.bench, job.original.interface
    durations, batches = recipe.seconds, recipe.batches
    longest = job.recipe.positions.max_seconds
    if longest is not None:
        durations = tuple(dict.fromkeys(min(seconds, longest) for seconds in durations))
    if face.frames is not None:
        durations = (face.frames * job.original.frontend.seconds_per_frame,)
    if face.batch is not None:
        batches = (face.batch,)
    if (durations, batches) != (recipe.seconds, recipe.batches):
        listed = ", ".join(f"{seconds:g}" for seconds in durations)
        evidence.notes.append(
            f"Latency was measured for {listed} s of audio in batches of "
            f"{', '.join(map(str, batches))}, as the models take no other."
        )
    return durations, batches
