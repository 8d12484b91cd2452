"""Formats for a model: what calibration saw of its layers and how much each of them matters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
from pydantic import TypeAdapter, ValidationError

from ...passes.errors import ConfpressError
from ...passes.format_choice import (
    LayerErrors,
    LayerInputs,
    approximated,
    eligible_layers,
    format_errors,
)
from ...passes.format_plan import LayerFormat
from ...passes.rewrite import constant
from ...runtime.cache import Cache
from ...runtime.calibration.calibrate import Observed, calibrate
from ...runtime.calibration.statistics_cache import known_statistics
from ...runtime.fingerprint import digest
from ...runtime.interface import FloatArray, read_interface
from ...runtime.progress import progress
from ...runtime.runner import Runner
from ...runtime.session import DEFAULT_OPTIONS, SessionOptions, create_session, run_session
from .budget import Option
from .divergence import log_softmax, steady_divergence

#: Frames of each layer's input that layer-output errors are taken on.
SAMPLED_ROWS = 512
#: The format whose error on the whole model tells how much a layer matters.
PROBE = LayerFormat(weight="int4", block=32)

_SENSITIVITIES = TypeAdapter(dict[str, float])


def _blocked(block: int, *names: str) -> tuple[LayerFormat, ...]:
    return tuple(
        LayerFormat(weight=name, block=block, method="mse", scale_type="float16") for name in names
    )


#: Candidates of equal bits, integers first: they win ties.
FOUR_BIT = _blocked(32, "int4", "fp4")
EIGHT_BIT = (LayerFormat(weight="int8"), LayerFormat(weight="fp8"))
EIGHT_BIT_BOTH = (
    LayerFormat(weight="int8", activations="int8"),
    LayerFormat(weight="fp8", activations="fp8"),
)
#: What a budget chooses from: bfloat16 is for weights that leave float16's range; int4 of several
#: block sizes lie close together in bytes. FP4 is not among them: it errs less than int4 in most
#: layers' outputs, and yet loses more words (docs/quantisation.md); a plan that names it is carried
#: out.
MIXED = (
    LayerFormat(weight="float32"),
    LayerFormat(weight="float16"),
    LayerFormat(weight="bfloat16"),
    *EIGHT_BIT,
    *_blocked(32, "int4"),
    *_blocked(64, "int4"),
    *_blocked(128, "int4"),
    *_blocked(16, "int2"),
)
#: What is left out of it at first, then as far as the limits need it.
COARSE = (MIXED[-3:], MIXED[-1:])


@dataclass(frozen=True)
class Known:
    """What earlier runs measured.

    Attributes:
        cache: Where it is kept.
        key: Stands for the model as it will be quantised, and the speech.
    """

    cache: Cache = field(default_factory=Cache)
    key: str = ""


NOTHING_KNOWN = Known()


def observe_inputs(
    model: ir.Model,
    features: Iterable[FloatArray],
    *,
    rows: int = 0,
    known: Known = NOTHING_KNOWN,
) -> dict[str, LayerInputs]:
    """Runs speech through a model and collects what the choice of formats needs.

    Args:
        model: As it will be quantised.
        features: float32 [mels, frames] each; one at a time is in memory.
        rows: Frames to keep of every layer's input.
        known: What need not be observed again.

    Returns:
        By name of the layers' input values.
    """
    names = dict.fromkeys(str(layer.input.name) for layer in eligible_layers(model))
    watched = [Observed(name, -1, rows=rows, histogram=False) for name in names]
    found = known_statistics(
        known.cache, digest(known.key, watched), lambda: calibrate(model, features, watched)
    )
    return {
        name: LayerInputs(each.channel_square_sum / each.channel_count, each.sample)
        for name, each in found.items()
    }


def known_sensitivities(
    model: ir.Model,
    features: Sequence[FloatArray],
    inputs: dict[str, LayerInputs],
    known: Known,
) -> dict[str, float]:
    """Those of an earlier run, or of this one; arguments and result as of `sensitivities`."""
    frames = [each.shape[1] for each in features]
    name = f"sensitivities-{digest(known.key, PROBE, frames)}.json"
    data = known.cache.read(name)
    if data is not None:
        try:
            return _SENSITIVITIES.validate_json(data)
        except ValidationError:
            known.cache.ignored(name)
    found = sensitivities(model, features, inputs)
    known.cache.write(name, _SENSITIVITIES.dump_json(found))
    return found


def sensitivities(
    model: ir.Model,
    features: Sequence[FloatArray],
    inputs: dict[str, LayerInputs],
    probe: LayerFormat = PROBE,
    options: SessionOptions = DEFAULT_OPTIONS,
) -> dict[str, float]:
    """How much the model's scores change when one layer alone is quantised.

    Args:
        model: As it will be quantised.
        features: Utterances that are run once a layer.
        inputs: What calibration saw.
        probe: The format that is tried.
        options: How the model is run.

    Returns:
        By layer id: the steady divergence of the classes' probabilities.

    Raises:
        ConfpressError: a weight is shared in a way that it cannot be fed.
    """
    layers = list(eligible_layers(model))
    weights = {layer.id: layer for layer in layers}
    session = create_session(
        _with_fed_weights(model, [str(w.weight.name) for w in layers]), options
    )
    face = read_interface(model)
    output = [o.name for o in session.get_outputs()].index(face.scores)
    feeds = [face.feeds(face.alone(each)) for each in features]
    exact = [log_softmax(run_session(session, feed)[output]) for feed in feeds]
    found = {}
    with progress("Sensitivity", len(layers), "layers") as advance:
        for name, layer in weights.items():
            weight = constant(layer.weight)
            assert weight is not None, "eligible layers have constant weights"
            changed = approximated(weight, probe, inputs[str(layer.input.name)].mean_square)
            scores = [
                run_session(session, {**feed, str(layer.weight.name): changed})[output]
                for feed in feeds
            ]
            found[name] = steady_divergence(exact, [log_softmax(each) for each in scores])
            advance(1)
    return found


def options_of(
    model: ir.Model,
    inputs: dict[str, LayerInputs],
    matters: dict[str, float],
    candidates: Sequence[LayerFormat] = MIXED,
    probe: LayerFormat = PROBE,
) -> dict[str, list[Option]]:
    """Options for every layer: its errors, scaled by what the probe did to the model.

    Rounding errors are small and independent, so that the divergence of the scores grows with the
    square of a layer's error: twice the squared error counts twice.
    """
    judged = format_errors(model, [*candidates, probe], inputs, "weighted")
    return {each.layer: _options(each, matters[each.layer], candidates) for each in judged}


def _options(
    judged: LayerErrors, matters: float, candidates: Sequence[LayerFormat]
) -> list[Option]:
    unit = matters / max(judged.errors[-1], 1e-30)
    return [
        Option(form, error * unit, form.stored_bytes(*judged.shape))
        for form, error in zip(candidates, judged.errors, strict=False)
    ]


def divergence(
    model: ir.Model,
    quantised: ir.Model,
    features: Sequence[FloatArray],
    options: SessionOptions = DEFAULT_OPTIONS,
) -> float:
    """How much the model's scores change when a whole plan is carried out, as ``sensitivities``.

    Args:
        model: As it was.
        quantised: As it runs, on target reference.
        features: float32 [mels, frames] each.
        options: How both are run.
    """
    runners = [Runner.start(each, options) for each in (model, quantised)]
    exact, other = (
        [log_softmax(r.scores(r.interface.alone(each))[0]) for each in features] for r in runners
    )
    return steady_divergence(exact, other)


def _with_fed_weights(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy whose weights are inputs with a default, so that one session runs every probe."""
    copy = model.clone()
    for name in dict.fromkeys(names):
        if name not in copy.graph.initializers:
            raise ConfpressError(f"weight {name} is no initializer; simplify the model first.")
        copy.graph.inputs.append(copy.graph.initializers[name])
    return copy
