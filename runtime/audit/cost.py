"""What layers cost as they run, against the same products in float32."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from ...passes.products import Product
from ...passes.rewrite import add_initializer
from ..environment import describe_environment
from ..profile.operators import NodeTime, profile_nodes
from ..profile.optimised import trace
from ..recognition.asr import AsrModel
from ..session import DEFAULT_OPTIONS, SessionOptions
from ..speech.manifest import Utterance
from .layers import Audit, judged, pair

#: Attributes of convolutions that decide how much they compute.
_GEOMETRY: Final = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_OPSET: Final = 17


@dataclass(frozen=True)
class Twin:
    """A product in float32 of the same size: ``x`` of a shape times a weight of a shape.

    Attributes:
        input: Shape of the activation.
        weight: Shape of the weight.
        geometry: A convolution's attributes; None for a MatMul.
    """

    input: tuple[int, ...]
    weight: tuple[int, ...]
    geometry: tuple[tuple[str, object], ...] | None = None


def audit_timed(
    model: AsrModel,
    options: SessionOptions = DEFAULT_OPTIONS,
    *,
    seconds: float = 10.0,
    runs: int = 10,
    utterances: Sequence[Utterance] = (),
) -> Audit:
    """The audit with the time of every layer, and that of its product in float32.

    Times are of one utterance, or of as many as the model takes where it takes no other number.

    Args:
        model: The model.
        options: How it is run.
        seconds: Duration of the audio.
        runs: Runs that count.
        utterances: Speech to run on; noise without it.

    Raises:
        ConfpressError: the model cannot be run, or audio cannot be read.
    """
    batch = model.interface.batch or 1
    traced = trace(model, options, seconds=seconds, batch=batch, runs=runs, utterances=utterances)
    pairs = pair(traced.model, traced.optimised)
    times = {node.name: node for node in traced.whole.nodes}
    twins = [_twin(stated, running, times) for stated, running in pairs]
    float_ms = twin_times((twin for twin in twins if twin is not None), options, runs)
    layers = judged(pairs, traced.model, describe_environment().cpu_features)
    return Audit(
        model=str(model.path),
        seconds=traced.whole.seconds,
        batch=batch,
        threads=options.threads,
        layers=tuple(
            layer.model_copy(
                update={"ms": ms, "float_ms": None if twin is None else float_ms[twin]}
            )
            for layer, ms, twin in zip(layers, _spent(pairs, times), twins, strict=True)
        ),
    )


def twin_times(
    twins: Iterable[Twin], options: SessionOptions = DEFAULT_OPTIONS, runs: int = 10
) -> dict[Twin, float]:
    """Milliseconds of products in float32, all as nodes of one model.

    Args:
        twins: The products.
        options: Threads.
        runs: Runs that count.
    """
    unique = list(dict.fromkeys(twins))
    if not unique:
        return {}
    random = np.random.default_rng(0)
    graph = ir.Graph([], [], nodes=[], opset_imports={"": _OPSET}, name="twins")
    feeds = {}
    for index, twin in enumerate(unique):
        x = ir.Value(
            name=f"x{index}", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(twin.input)
        )
        graph.inputs.append(x)
        feeds[f"x{index}"] = random.standard_normal(twin.input, np.float32)
        weight = add_initializer(
            graph, f"w{index}", random.standard_normal(twin.weight, np.float32)
        )
        node = ir.node(
            "MatMul" if twin.geometry is None else "Conv",
            [x, weight],
            dict(twin.geometry or ()),  # type: ignore[arg-type]
            name=f"twin{index}",
        )
        graph.append(node)
        node.outputs[0].name, node.outputs[0].dtype = f"twin{index}", ir.DataType.FLOAT
        graph.outputs.append(node.outputs[0])
    nodes, _ = profile_nodes(ir.Model(graph, ir_version=8), feeds, options, runs)
    # Convolutions in a layout of ONNX Runtime's own are named by what they give; the nodes that
    # change the layout are the session's matter.
    spent = {each.name.removesuffix("_nchwc"): each.ms for each in nodes}
    return {twin: spent[f"twin{index}"] for index, twin in enumerate(unique)}


def _spent(
    pairs: Sequence[tuple[Product, Product | None]], times: Mapping[str, NodeTime]
) -> list[float | None]:
    """The time of each layer's nodes; what several share is told to the first."""
    told: set[ir.Node] = set()
    spent: list[float | None] = []
    for _, running in pairs:
        if running is None:
            spent.append(None)
            continue
        nodes = [n for n in (running.node, *running.decoding, *running.rounding) if n not in told]
        told.update(nodes)
        spent.append(sum(times[str(n.name)].ms for n in nodes if str(n.name) in times))
    return spent


def _twin(stated: Product, running: Product | None, times: Mapping[str, NodeTime]) -> Twin | None:
    """The product in float32; None where the shapes that ran are not known."""
    ran = None if running is None else times.get(str(running.node.name))
    if running is None or ran is None or not ran.input_shape or not ran.output_shape:
        return None
    if "Conv" not in stated.node.op_type:
        if running.input is not running.node.inputs[0]:
            return None
        *frames, k = ran.input_shape
        return Twin((math.prod(frames), k), (k, ran.output_shape[-1]))
    shape = ran.input_shape
    if running.node.attributes.get_int("channels_last", 0):
        shape = (shape[0], shape[-1], *shape[1:-1])
    geometry = tuple(
        (name, stated.node.attributes[name].value)
        for name in _GEOMETRY
        if name in stated.node.attributes
    )
    return Twin(shape, tuple(stated.weight.shape.numpy()), geometry)
