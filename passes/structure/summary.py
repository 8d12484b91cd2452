"""What is in a model, module by module.

Operators, parameters, bytes, multiply-accumulates, zeros, formats.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from ..base import LAYER_KEY, Refusal
from ..errors import ConfpressError
from .facts import Facts, activations_of, facts_of
from .graph import all_inputs, constant
from .ids import module_of_layer
from .interface import speech_interface
from .macs import macs_of
from .modules import Convolution, Kind, Linear, Module, Structure
from .shapes import shapes_at

#: The row for nodes that no module owns alone: masks, lengths, sizes.
SHARED = "shared"
#: Sizes, indices and switches are not parameters.
_NOT_PARAMETERS = (ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING)


@dataclasses.dataclass(frozen=True)
class LayerSummary:
    """A linear layer or convolution.

    Attributes:
        id: Stable id.
        scope: The exporter's name, or "".
        operator: ``MatMul``, ``Gemm``, ``Conv``, ...
        weight_shape: As stored.
        parameters: Weight and bias.
        zeros: Zeros in the weight.
        format: Type of the stored weight: ``float32``, ``int8``, ...
        activations: Treatment of the input: ``float``, ``static`` or ``dynamic`` quantisation.
        macs: Multiply-accumulates at the summary's duration; None where not known.
    """

    id: str
    scope: str
    operator: str
    weight_shape: tuple[int, ...]
    parameters: int
    zeros: int
    format: str
    activations: str
    macs: int | None


@dataclasses.dataclass(frozen=True)
class ModuleSummary:
    """A module, or the nodes that several share.

    Attributes:
        id: Stable id, or ``shared``.
        kind: What it does.
        scope: The exporter's name, or "".
        layer: Index of its block, or None.
        facts: What is particular to it: heads, units, kernel, ...
        operators: Number of nodes by operator.
        parameters: Stored numbers: weights, biases, tables. A number that several modules use
            counts for the first.
        bytes: Their size in the file, and that of sizes and indices.
        weights: Numbers in the weights of its layers.
        zeros: Zeros among them.
        formats: Stored numbers by type.
        macs: Multiply-accumulates at the summary's duration, of the nodes where they are known.
        unknown_macs: Products whose shape is not known at that duration.
        layers: Its linear layers and convolutions.
    """

    id: str
    kind: str
    scope: str
    layer: int | None
    facts: Facts
    operators: Mapping[str, int]
    parameters: int
    bytes: int
    weights: int
    zeros: int
    formats: Mapping[str, int]
    macs: int
    unknown_macs: int
    layers: tuple[LayerSummary, ...]

    @property
    def zero_share(self) -> float:
        """Zeros over weights, 0 without weights."""
        return self.zeros / self.weights if self.weights else 0.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """What is in a model.

    Attributes:
        producer: Name and version of the program that wrote it.
        ir_version: Version of the file format.
        opsets: Version by domain.
        frames: Input frames that ``macs`` are counted for; None if the model takes no features.
        modules: In the order of data, the shared nodes last.
        near_misses: What was almost recognised.
    """

    producer: str
    ir_version: int
    opsets: Mapping[str, int]
    frames: int | None
    modules: tuple[ModuleSummary, ...]
    near_misses: tuple[Refusal, ...]

    @property
    def parameters(self) -> int:
        """Stored numbers of the whole model."""
        return sum(module.parameters for module in self.modules)

    @property
    def bytes(self) -> int:
        """Size of all constants."""
        return sum(module.bytes for module in self.modules)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole model, where they are known."""
        return sum(module.macs for module in self.modules)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers."""
        return dataclasses.asdict(self) | {
            "parameters": self.parameters,
            "bytes": self.bytes,
            "macs": self.macs,
        }


def summarise(model: ir.Model, structure: Structure, frames: int | None = 1000) -> Summary:
    """Counts what is in a model, module by module.

    Args:
        model: The model that ``structure`` was recognised in.
        structure: Its modules. Where it has none, nodes are grouped by their stamped layer ids.
        frames: Input frames for multiply-accumulates, batch 1 (10 s at 100 frames a second); None
            leaves them uncounted.
    """
    shapes = _shapes(model, frames)
    groups: dict[str, list[ir.Node]] = {module.id: [] for module in structure.modules}
    for node in model.graph:
        groups.setdefault(_group(structure, node), []).append(node)
    shared = groups.pop(SHARED, [])
    owners = {module.id: module for module in structure.modules}
    layers = _Layers(structure)
    counted: set[ir.Value] = set()
    summaries = [
        _module_summary(name, owners.get(name), nodes, layers, shapes, counted)
        for name, nodes in [*groups.items(), (SHARED, shared)]
    ]
    return Summary(
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        ir_version=model.ir_version,
        opsets=dict(model.opset_imports),
        frames=frames if shapes is not None else None,
        modules=tuple(summaries),
        near_misses=structure.near_misses,
    )


def _shapes(model: ir.Model, frames: int | None) -> dict[str, tuple[int, ...]] | None:
    """All shapes at a number of frames; None for a model without features."""
    if frames is None:
        return None
    try:
        interface = speech_interface(model)
    except ConfpressError:
        return None
    return shapes_at(model, interface.input_shapes(1, interface.frames or frames))


def _group(structure: Structure, node: ir.Node) -> str:
    module = structure.module_of(node)
    if module is not None:
        return module.id
    stamp = node.metadata_props.get(LAYER_KEY)
    return module_of_layer(stamp) if stamp and not structure.modules else SHARED


class _Layers:
    """The layers of a structure by their node."""

    def __init__(self, structure: Structure) -> None:
        self._layers: dict[ir.Node, Linear | Convolution] = {}
        self._layers.update({each.node: each for each in structure.linears})
        self._layers.update({each.node: each for each in structure.convolutions})

    def of(self, nodes: Iterable[ir.Node]) -> list[Linear | Convolution]:
        """The layers among some nodes."""
        return [self._layers[node] for node in nodes if node in self._layers]


def _module_summary(
    name: str,
    module: Module | None,
    nodes: list[ir.Node],
    layers: _Layers,
    shapes: Mapping[str, tuple[int, ...]] | None,
    counted: set[ir.Value],
) -> ModuleSummary:
    macs = [macs_of(n, shapes) for n in nodes] if shapes is not None else []
    formats: defaultdict[str, int] = defaultdict(int)
    stored = 0
    for value in _constants(nodes):
        if value in counted:
            continue
        counted.add(value)
        tensor = constant(value)
        assert tensor is not None, "only constants were collected"
        stored += tensor.nbytes
        if tensor.dtype not in _NOT_PARAMETERS:
            formats[_format(tensor)] += int(tensor.size)
    summaries = [_layer_summary(layer, shapes) for layer in layers.of(nodes)]
    return ModuleSummary(
        id=name,
        kind=str(module.kind) if module else str(Kind.OTHER),
        scope=module.scope if module else "",
        layer=module.layer if module else None,
        facts=facts_of(module) if module else {},
        operators=dict(Counter(node.op_type for node in nodes).most_common()),
        parameters=sum(formats.values()),
        bytes=stored,
        weights=sum(int(np.prod(each.weight_shape)) for each in summaries),
        zeros=sum(each.zeros for each in summaries),
        formats=dict(formats),
        macs=sum(count for count in macs if count is not None),
        unknown_macs=sum(count is None for count in macs),
        layers=tuple(summaries),
    )


def _constants(nodes: Iterable[ir.Node]) -> Iterable[ir.Value]:
    values = (value for node in nodes for value in all_inputs(node))
    return dict.fromkeys(value for value in values if constant(value) is not None)


def _format(tensor: ir.TensorProtocol) -> str:
    """``float32``: numpy's names where numpy has the type, else ONNX's."""
    return str(tensor.numpy().dtype) if tensor.size == 1 else str(tensor.dtype.numpy())


def _layer_summary(
    layer: Linear | Convolution, shapes: Mapping[str, tuple[int, ...]] | None
) -> LayerSummary:
    tensor = constant(layer.weight)
    assert tensor is not None, "a layer's weight is constant"
    bias = constant(layer.bias)
    return LayerSummary(
        id=layer.id,
        scope=layer.scope,
        operator=layer.node.op_type,
        weight_shape=tuple(tensor.shape.numpy()),
        parameters=int(tensor.size) + (int(bias.size) if bias is not None else 0),
        zeros=int(tensor.size) - int(np.count_nonzero(tensor.numpy())),
        format=_format(tensor),
        activations=activations_of(layer),
        macs=macs_of(layer.node, shapes) if shapes is not None else None,
    )
