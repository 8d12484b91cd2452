"""Layers on a GPU: our products against ONNX Runtime's dense ones; part of cuda.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from confpress.passes.errors import ConfpressError
from confpress.passes.operators import (
    quantlinear,
    sparselinear,
    sparselinear_float,
    sparselinear_half,
)
from confpress.passes.operators.functions import define_operator
from confpress.runtime.audit.placement import placement
from confpress.runtime.benchmark.bound import bound_call
from confpress.runtime.benchmark.turns import take_turns, warm_up
from confpress.runtime.profile.operators import profile_nodes
from confpress.runtime.session import (
    Provider,
    SessionOptions,
    create_session,
    error_text,
    run_session,
)
from linear import initializer, model_of

Floats = npt.NDArray[np.float32]

Make = Callable[[list[Floats]], ir.Model]

#: Weights kept of 64, by the share of zeros that they are named after.
KEPT: Final = {"75%": 16, "87.5%": 8, "90%": 6}
#: Weights of all copies of a layer together, in bytes of float32, and how many copies there may be.
_BYTES: Final = 256 << 20
_COPIES: Final = (4, 32)


@dataclass(frozen=True)
class Peaks:
    """What a GPU promises, dense: gigabytes and 10^12 operations a second."""

    gigabytes: float
    float32: float
    tf32: float
    float16: float
    dp4a: float


@dataclass(frozen=True)
class Side:
    """One way to compute a layer.

    Attributes:
        name: Of the column.
        model: Makes a model of some copies, given their weights.
        dtype: Of X and Y.
        density: The share of the products that are computed.
        weight_bytes: Of one weight of the dense matrix, on average.
        peak: The field of Peaks that bounds its arithmetic.
        options: Of the CUDA provider.
    """

    name: str
    model: Make
    dtype: npt.DTypeLike
    density: float
    weight_bytes: float
    peak: str
    options: tuple[tuple[str, str], ...] = ()

    def floor_us(self, k: int, n: int, frames: int, peaks: Peaks) -> float:
        """The time that bytes and operations of a layer take at least."""
        moved = k * n * self.weight_bytes + frames * (k + n) * np.dtype(self.dtype).itemsize
        operations = 2 * frames * k * n * self.density
        return float(
            max(moved / peaks.gigabytes / 1e3, operations / getattr(peaks, self.peak) / 1e6)
        )


@dataclass
class Timing:
    """One shape: microseconds and floor of each side, speed-ups over float32, and what failed."""

    k: int
    n: int
    frames: int
    graph: bool
    us: dict[str, float] = field(default_factory=dict)
    floor_us: dict[str, float] = field(default_factory=dict)
    speed_up: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def sides() -> Iterator[Side]:
    """All sides; float32 without TF32 first, and 2:4 beside dense float16.

    Sparse tensor cores have twice the peak of dense ones, in products that are counted as if dense:
    with half of the products left, the floor is that of the dense peak. Of four weights they read
    two and four bits for their columns.
    """
    no_tf32, tf32 = (("use_tf32", "0"),), (("use_tf32", "1"),)
    yield Side("float32", _dense(np.float32), np.float32, 1, 4, "float32", no_tf32)
    yield Side("float32, TF32", _dense(np.float32), np.float32, 1, 4, "tf32", tf32)
    yield Side("float16", _dense(np.float16), np.float16, 1, 2, "float16")
    yield Side("sparse float16 2:4", _half(2, 4), np.float16, 1 / 2, 9 / 8, "float16")
    yield Side("int8", _int8(None), np.float32, 1, 1, "dp4a")
    for name, kept in KEPT.items():
        share = kept / 64
        yield Side(f"sparse float32 {name}", _float(kept), np.float32, share, 5 * share, "float32")
        yield Side(f"sparse float16 {name}", _half(kept), np.float16, share, 3 * share, "float32")
        if kept in sparselinear.KEPT:
            yield Side(f"sparse int8 {name}", _int8(kept), np.float32, share, 2 * share, "dp4a")


def check(
    name: str, shapes: Sequence[tuple[int, int]], frames: Sequence[int], provider: Provider
) -> list[float]:
    """Holds a side against its function's body, and refuses what would not be timed.

    Returns:
        The largest difference for every size, as a share of the largest output; none without a
        function.

    Raises:
        ConfpressError: an operator does not run on the provider, or another one in its place.
    """
    side = next(each for each in sides() if each.name == name)
    options = SessionOptions(provider=provider, provider_options=_options(side, provider))
    errors = []
    for k, n in shapes:
        generator = np.random.default_rng(k * n)
        model = side.model([generator.standard_normal((n, k)).astype(np.float32)])
        for count in frames:
            feeds = {"x": generator.standard_normal((count, k)).astype(side.dtype)}
            if provider == "cuda":
                _check_placement(model, feeds, options)
            if model.functions:
                errors.append(_error(model, feeds, options))
    return errors


def _check_placement(model: ir.Model, feeds: dict[str, Any], options: SessionOptions) -> None:
    nodes, _ = profile_nodes(model, feeds, options, runs=1)
    placed = placement(nodes, options.provider)
    if placed.elsewhere or placed.copies:
        raise ConfpressError(placed.sentence)
    ran = {node.operator for node in nodes}
    for function in model.functions.values():
        if function.name not in ran:
            raise ConfpressError(
                f"{function.name} ran by its body, as the kernel library has no operator for this "
                "GPU or its driver"
            )


def measure(
    k: int,
    n: int,
    frames: Sequence[int],
    *,
    names: Sequence[str],
    rounds: int,
    provider: Provider,
    graph: bool,
    peaks: Peaks | None,
) -> list[Timing]:
    """Times one weight's shape for some numbers of frames, the sides of these names in turn.

    A layer's time is that of many copies, with weights of their own, less that of one, divided by
    how many more they are: what a run costs by itself falls out.
    """
    generator = np.random.default_rng(k * n)
    copies = int(np.clip(_BYTES // (4 * k * n), *_COPIES))
    weights = [generator.standard_normal((n, k)).astype(np.float32) for _ in range(copies)]
    made = [
        (side, (side.model(weights), side.model(weights[:1])))
        for side in sides()
        if side.name in names
    ]
    timings = []
    for count in frames:
        timing = Timing(k, n, count, graph)
        x = generator.standard_normal((count, k)).astype(np.float32)
        calls: list[Callable[[], None]] = []
        for side, models in made:
            try:
                calls += _calls(side, models, x, provider, graph)
            except Exception as error:
                timing.failed[side.name] = error_text(error)
        for call in calls:
            warm_up(call)
        times = take_turns(calls, rounds, seed=count)
        layer = (times[0::2] - times[1::2]) * 1e3 / (copies - 1)
        timed = [side for side, _ in made if side.name not in timing.failed]
        for side, each in zip(timed, layer, strict=True):
            timing.us[side.name] = median(each)
            if peaks is not None:
                timing.floor_us[side.name] = side.floor_us(k, n, count, peaks)
            if "float32" in timing.us:
                timing.speed_up[side.name] = median(layer[0] / each)
        timings.append(timing)
    return timings


def _options(side: Side, provider: Provider, graph: bool = False) -> tuple[tuple[str, str], ...]:
    if provider != "cuda":
        return ()
    return (*side.options, *((("enable_cuda_graph", "1"),) if graph else ()))


def _calls(
    side: Side, models: Iterable[ir.Model], x: Floats, provider: Provider, graph: bool
) -> list[Callable[[], None]]:
    """What runs each of the models; each ran once, and with that its graph is recorded."""
    options = SessionOptions(
        provider=provider, provider_options=_options(side, provider, graph=graph)
    )
    feeds = {"x": x.astype(side.dtype)}
    calls = [bound_call(create_session(model, options), feeds, provider) for model in models]
    for call in calls:
        call()
    return calls


def _error(model: ir.Model, feeds: dict[str, Any], options: SessionOptions) -> float:
    """The largest difference from the function's body, as a share of the largest output."""
    (y,) = run_session(create_session(model, options), feeds)
    (body,) = run_session(create_session(model, SessionOptions(kernels=False)), feeds)
    expected = body.astype(np.float64)
    return float(np.abs(y.astype(np.float64) - expected).max() / np.abs(expected).max())


def _kept(weight: Floats, kept: int, span: int = 64) -> Floats:
    """The weight with the largest of each span of columns, and zeros."""
    blocks = np.abs(weight).reshape(len(weight), -1, span)
    rank = np.argsort(np.argsort(-blocks, axis=2, kind="stable"), axis=2, kind="stable")
    return np.where((rank < kept).reshape(weight.shape), weight, np.float32(0))


def _bias(weight: Floats) -> Floats:
    return np.linspace(-1, 1, len(weight), dtype=np.float32)


def _input(k: int, dtype: npt.DTypeLike) -> ir.Value:
    return ir.val("x", ir.DataType.from_numpy(np.dtype(dtype)), ["frames", k])


def _dense(dtype: npt.DTypeLike) -> Make:
    def make(weights: list[Floats]) -> ir.Model:
        x, nodes, constants = _input(weights[0].shape[1], dtype), [], []
        for i, weight in enumerate(weights):
            turned = np.ascontiguousarray(weight.T).astype(dtype)
            w, bias = _values(i, turned, _bias(weight).astype(dtype))
            product = ir.node("MatMul", [x, w])
            constants += [w, bias]
            nodes += [product, ir.node("Add", [product.outputs[0], bias])]
        return _model(x, nodes, nodes[1::2], constants)

    return make


def _float(kept: int) -> Make:
    def node(i: int, x: ir.Value, weight: Floats) -> tuple[ir.Node, list[ir.Value]]:
        packed, columns = sparselinear_float.pack_sparse_float(_kept(weight, kept))
        values = _values(i, packed, columns, _bias(weight))
        return sparselinear_float.sparse_float_node(x, *values, shape=weight.shape), values

    return _ours(np.float32, node, sparselinear_float.sparse_float_function)


def _half(kept: int, span: int = 64) -> Make:
    def node(i: int, x: ir.Value, weight: Floats) -> tuple[ir.Node, list[ir.Value]]:
        half = _kept(weight, kept, span).astype(np.float16)
        values = _values(i, *sparselinear_half.pack_sparse_half(half), _bias(weight))
        return sparselinear_half.sparse_half_node(x, *values, shape=weight.shape), values

    return _ours(np.float16, node, sparselinear_half.sparse_half_function)


def _int8(kept: int | None) -> Make:
    """SparseLinear, or QuantLinear where all weights are kept."""

    def node(i: int, x: ir.Value, weight: Floats) -> tuple[ir.Node, list[ir.Value]]:
        scales = (np.abs(weight).max(axis=1) / 127).astype(np.float32)
        chosen = weight if kept is None else _kept(weight, kept)
        codes = np.rint(chosen / scales[:, None]).astype(np.int8)
        if kept is None:
            values = _values(i, quantlinear.pack_int8(codes), scales, _bias(weight))
            return quantlinear.quant_linear_node(x, *values, shape=weight.shape), values
        packed = sparselinear.pack_sparse(codes, sparselinear.Pattern(kept, sparselinear.BLOCK))
        values = _values(i, *packed, scales, _bias(weight))
        return sparselinear.sparse_node(x, *values, shape=weight.shape), values

    dense = quantlinear.quant_linear_function
    return _ours(np.float32, node, dense if kept is None else sparselinear.sparse_function)


def _ours(
    dtype: npt.DTypeLike,
    node_of: Callable[[int, ir.Value, Floats], tuple[ir.Node, list[ir.Value]]],
    function: Callable[..., ir.Function],
) -> Make:
    def make(weights: list[Floats]) -> ir.Model:
        x = _input(weights[0].shape[1], dtype)
        made = [node_of(i, x, weight) for i, weight in enumerate(weights)]
        nodes = [node for node, _ in made]
        model = _model(x, nodes, nodes, [value for _, values in made for value in values])
        define_operator(model, function)
        return model

    return make


def _model(
    x: ir.Value, nodes: list[ir.Node], last: list[ir.Node], constants: list[ir.Value]
) -> ir.Model:
    model = model_of(x, nodes, [node.outputs[0] for node in last], constants)
    for y in model.graph.outputs:
        y.dtype = x.dtype
    return model


def _values(i: int, *arrays: npt.NDArray[Any]) -> list[ir.Value]:
    return [initializer(f"w{i}.{j}", array) for j, array in enumerate(arrays)]
