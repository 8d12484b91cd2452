"""What a linear layer costs on this machine in a number format, as target ``cpu`` runs it.

A layer of random weights is quantised and lowered by the same passes as a model; times are kept in
the user's cache by what they depend on, so that a shape is measured once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import onnx_ir as ir
from pydantic import TypeAdapter, ValidationError

from ...passes.base import LAYER_KEY, run
from ...passes.format_plan import PLAIN, FormatPlan, LayerFormat
from ...passes.lower.cpu import LowerCpu
from ...passes.quantize import Quantize
from ..benchmark.turns import take_turns, warm_up
from ..cache import Cache
from ..fingerprint import digest, program_digest
from ..machine import describe_machine
from ..progress import progress
from ..session import SessionOptions, create_session

#: Frames of the measured input; 5 s of speech after a subsampling by four.
FRAMES = 128
_ROUNDS = 15
_OPSET = 21
_LAYER = "layer"
_TIMES = TypeAdapter(dict[str, float])


def measure_formats(
    shapes: Iterable[tuple[int, int]],
    forms: Iterable[LayerFormat],
    *,
    threads: int = 1,
    cache: Cache | None = None,
) -> dict[tuple[int, int, str], float]:
    """Times layers in formats, those of one shape in turn.

    Args:
        shapes: [K, N] of the weights.
        forms: Formats.
        threads: Of the session.
        cache: Times of earlier runs; None knows none.

    Returns:
        Milliseconds, median over the rounds, by K, N and `LayerFormat.label`.
    """
    wanted, formats = sorted(set(shapes)), {form.label: form for form in forms}
    store = cache or Cache()
    name = f"format-costs-{digest(program_digest(), describe_machine()['cpu'], threads)}.json"
    known = _read(store, name)
    missing = [(k, n) for k, n in wanted if any(_key(k, n, each) not in known for each in formats)]
    with progress("Timing layers", len(missing), "shapes") as advance:
        for k, n in missing:
            times = _measured(k, n, list(formats.values()), SessionOptions(threads=threads))
            known |= {_key(k, n, label): time for label, time in zip(formats, times, strict=True)}
            advance(1)
    if missing:
        store.write(name, _TIMES.dump_json(known))
    return {(k, n, label): known[_key(k, n, label)] for k, n in wanted for label in formats}


def _measured(k: int, n: int, forms: list[LayerFormat], options: SessionOptions) -> list[float]:
    x = np.random.default_rng(0).standard_normal((1, FRAMES, k)).astype(np.float32)
    runs = [
        partial(create_session(_layer(k, n, form), options).run, None, {"x": x}) for form in forms
    ]
    for each in runs:
        warm_up(each)
    return [float(ms) for ms in np.median(take_turns(runs, _ROUNDS, seed=0), axis=1)]


def _layer(k: int, n: int, form: LayerFormat) -> ir.Model:
    """``y = x W + b`` in a format, lowered."""
    weight = np.random.default_rng(1).standard_normal((k, n)).astype(np.float32)
    constants = [_constant("w", weight), _constant("b", np.zeros(n, np.float32))]
    x = ir.Value(name="x", shape=ir.Shape([1, "frames", k]), type=ir.TensorType(ir.DataType.FLOAT))
    product = ir.node("MatMul", [x, constants[0]], metadata_props={LAYER_KEY: _LAYER})
    total = ir.node("Add", [product.outputs[0], constants[1]], metadata_props={LAYER_KEY: _LAYER})
    y = total.outputs[0]
    y.name, y.type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x],
        [y],
        nodes=[product, total],
        initializers=constants,
        opset_imports={"": _OPSET},
        name="layer",
    )
    model = ir.Model(graph, ir_version=10)
    # Any scales take the same time.
    plain = form if form.weight in PLAIN else form.model_copy(update={"method": "maximum"})
    plan = FormatPlan(layers={_LAYER: plain})
    run([Quantize(convolution="float32", plan=plan), LowerCpu()], model)
    return model


def _constant(name: str, array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    return ir.Value(
        name=name,
        const_value=tensor,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(array.shape),
    )


def _key(k: int, n: int, label: str) -> str:
    return f"{k} x {n}: {label}"


def _read(cache: Cache, name: str) -> dict[str, float]:
    data = cache.read(name)
    if data is None:
        return {}
    try:
        return _TIMES.validate_json(data)
    except ValidationError:
        cache.ignored(name)
        return {}
