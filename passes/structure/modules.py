"""What the recogniser says about a model: its linear layers, its modules, what it did not know.

Everything here refers to values and nodes of the analysed model; it is out of date as soon as a
pass changes them.
"""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

import onnx_ir as ir

from ..base import Refusal

_D = TypeVar("_D")


class Kind(StrEnum):
    """What a module of a Conformer does."""

    SUBSAMPLING = "subsampling"
    POSITION_TABLE = "position_table"
    FEED_FORWARD = "feed_forward"
    SELF_ATTENTION = "self_attention"
    CONVOLUTION = "convolution"
    BRANCHES = "branches"
    NORM = "norm"
    HEAD = "head"
    OTHER = "other"


#: The kinds of modules that hold self-attention.
ATTENDING = (Kind.SELF_ATTENTION, Kind.BRANCHES)


class Position(StrEnum):
    """How self-attention knows about positions.

    ``RELATIVE`` is Transformer-XL's (Dai et al. 2019): scores of a projected table, shifted.
    ``KEY`` adds the rows of a projected table to the keys, as :mod:`..rewrites.key_positions` does.
    ``SHAW`` (Shaw et al. 2018) looks a vector up for every distance. ``BIAS`` adds a number for
    every distance (T5). ``ROTARY`` turns queries and keys (Su et al. 2021).
    """

    RELATIVE = "relative"
    KEY = "key"
    SHAW = "shaw"
    BIAS = "bias"
    ROTARY = "rotary"
    NONE = "none"


@dataclasses.dataclass(frozen=True, eq=False)
class Norm:
    """A normalisation in any spelling.

    Attributes:
        type: ``layer``, ``rms``, ``batch``, ``group`` or ``instance``.
        nodes: One node, or the nine of opset 13.
        input: What is normalised.
        output: The result, after scale and bias.
        weight: Scale, if there is one.
        bias: Shift, if there is one.
    """

    type: str
    nodes: tuple[ir.Node, ...]
    input: ir.Value
    output: ir.Value
    weight: ir.Value | None
    bias: ir.Value | None


@dataclasses.dataclass(frozen=True, eq=False)
class Activation:
    """A pointwise non-linearity: ``silu``, ``relu``, ``gelu``, ...; its nodes and its result."""

    name: str
    nodes: tuple[ir.Node, ...]
    output: ir.Value


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """A product with a constant matrix, with its bias.

    Attributes:
        id: Stable name, the same for every exporter (``encoder.layers.3.conv.pointwise1``).
        scope: The exporter's name for it, or "".
        node: MatMul, Gemm or Conv of kernel size 1; QuantLinear and the like in lowered models.
        nodes: ``node``, the Add of its bias and what computes the weight (DequantizeLinear, ...).
        weight: The stored matrix: the largest constant that the weight is computed from.
        weight_input: What ``node`` reads as its weight; ``weight`` itself in a float model.
        out_axis: Axis of the output features in ``weight_input`` (not of packed weights).
        bias: The bias [out_features], if there is one.
        in_features: Width of the input.
        out_features: Width of the output.
        input: What is multiplied.
        output: The result, after the bias.
        activation: The pointwise non-linearity that alone uses ``output``, if there is one.
    """

    id: str
    scope: str
    node: ir.Node
    nodes: tuple[ir.Node, ...]
    weight: ir.Value
    weight_input: ir.Value
    out_axis: int
    bias: ir.Value | None
    in_features: int
    out_features: int
    input: ir.Value
    output: ir.Value
    activation: Activation | None

    @property
    def channels_first(self) -> bool:
        """Whether features lie on axis 1 (Conv) or -2 (weight times input), not on the last."""
        return self.node.op_type == "Conv" or self.node.inputs[0] is self.weight_input


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution:
    """A Conv node that is not a linear layer: depthwise, strided, of more than one axis.

    Attributes:
        id: Stable name (``encoder.layers.3.conv.depthwise``, ``encoder.pre_encode.conv1``).
        scope: The exporter's name for it, or "".
        node: The Conv.
        weight: The stored filters.
        bias: The bias, if there is one.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Size on every spatial axis.
        strides: Step on every spatial axis.
        group: Number of groups.
    """

    id: str
    scope: str
    node: ir.Node
    weight: ir.Value
    bias: ir.Value | None
    in_channels: int
    out_channels: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    group: int

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel has filters of its own."""
        return self.group == self.in_channels and self.group > 1

    @property
    def is_pointwise(self) -> bool:
        """Whether it looks at one place only and mixes all channels."""
        return self.group == 1 and set(self.kernel) == {1}


@dataclasses.dataclass(frozen=True, eq=False)
class FeedForward:
    """Details of a feed-forward module.

    Attributes:
        units: Width between the two linear layers.
        activation: Name of the non-linearity, or the operators between the layers.
        gated: Whether the units are products of two projections (GLU and its relatives).
        experts: Parts of the units, of which each frame goes through one.
    """

    units: int
    activation: str
    gated: bool
    experts: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class SelfAttention:
    """Details of a self-attention module.

    Attributes:
        heads: Number of heads.
        head_size: Width of one head.
        position: How positions enter.
        position_values: The table (or sines and cosines, or bias) as it enters the module.
        query: The layer of the queries.
        key: The layer of the keys; ``query`` again when they are packed.
        value: The layer of the values.
        out: The output projection.
        position_layer: ``linear_pos``, if there is one.
        softmax: The Softmax (or fused Attention) node.
    """

    heads: int
    head_size: int
    position: Position
    position_values: tuple[ir.Value, ...]
    query: Linear
    key: Linear
    value: Linear
    out: Linear
    position_layer: Linear | None
    softmax: ir.Node

    @property
    def layers(self) -> tuple[Linear, ...]:
        """Its projections, those of positions included; packed ones more than once."""
        own = (self.query, self.key, self.value, self.out)
        return own if self.position_layer is None else (*own, self.position_layer)

    @property
    def relative_positions(self) -> ir.Value:
        """What queries meet where positions are relative: projected, or stored as if they were."""
        layer = self.position_layer
        return self.position_values[0] if layer is None else layer.output


@dataclasses.dataclass(frozen=True, eq=False)
class ConvolutionModule:
    """Details of a convolution module.

    Attributes:
        depthwise: The depthwise convolution.
        channels: Its channels.
        kernel: Its width in frames.
        gate_half: Which half of the first pointwise layer's output goes through the gate's
            non-linearity: 1 in most, 0 in some, None without a GLU.
        norm: The norm after the depthwise convolution; None when there is none or the exporter
            folded its BatchNorm.
        pointwise: The linear layers in the order of data.
    """

    depthwise: Convolution
    channels: int
    kernel: int
    gate_half: int | None
    norm: Norm | None
    pointwise: tuple[Linear, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Branches:
    """Details of attention and a convolutional gate side by side.

    Attributes:
        attention: The attention.
        gate_in: The layer whose output's halves are multiplied, one of them convolved.
        gate_out: The layer that takes their product.
        depthwise: The convolution of the one half.
    """

    attention: SelfAttention
    gate_in: Linear
    gate_out: Linear
    depthwise: Convolution


@dataclasses.dataclass(frozen=True, eq=False)
class Subsampling:
    """Details of what lies before the first module.

    Attributes:
        factor: Input frames per frame of the encoder, by the strides of the convolutions; None
            where the time axis of a convolution with unequal strides is unknown.
        out: The last linear layer, the projection to the width of the encoder, if there is one.
    """

    factor: int | None
    out: Linear | None


Details = FeedForward | SelfAttention | ConvolutionModule | Branches | Subsampling


def attention_of(details: Details | None) -> SelfAttention | None:
    """The self-attention of a module, alone or beside a convolution; None where there is none."""
    if isinstance(details, Branches):
        return details.attention
    return details if isinstance(details, SelfAttention) else None


@dataclasses.dataclass(frozen=True, eq=False)
class Cache:
    """A streaming state: the graph input that holds it and the output that hands it on.

    Attributes:
        input: Graph input that enters the module.
        output: Graph output of the module's new state, if one was found.
    """

    input: ir.Value
    output: ir.Value | None


@dataclasses.dataclass(frozen=True, eq=False)
class Module:
    """One module and the nodes that serve it alone.

    Attributes:
        id: Stable name, the same for every exporter (``encoder.layers.3.feed_forward1``).
        kind: What it does.
        scope: The exporter's name for it, or "".
        layer: Index of its block, None outside the blocks.
        nodes: All its nodes in graph order: norm, branch, residual Add and what is computed for
            this module alone (shapes, masks, the projection of the position table).
        linears: Its linear layers in the order of data.
        convolutions: Its other convolutions in the order of data.
        input: The residual stream before it (for the head: what it reads).
        output: The residual stream after it.
        norm: The norm that the branch begins with, or the whole of a norm module.
        residual_add: The Add that joins branch and stream.
        scale: Constant factor of the branch (0.5 in a half step).
        stream_scale: Constant factor of the stream at the Add (1 nearly always).
        details: What is particular to its kind.
        caches: Streaming states that enter it.
    """

    id: str
    kind: Kind
    scope: str
    layer: int | None
    nodes: tuple[ir.Node, ...]
    linears: tuple[Linear, ...]
    convolutions: tuple[Convolution, ...]
    input: ir.Value | None
    output: ir.Value
    norm: Norm | None = None
    residual_add: ir.Node | None = None
    scale: float = 1.0
    stream_scale: float = 1.0
    details: Details | None = None
    caches: tuple[Cache, ...] = ()

    def detail(self, expected: type[_D]) -> _D:
        """The details, checked to be of the expected kind.

        Raises:
            TypeError: The module is of another kind.
        """
        if not isinstance(self.details, expected):
            raise TypeError(f"{self.id} is a module of kind {self.kind}")
        return self.details

    @property
    def attention(self) -> SelfAttention:
        """The details of a module's self-attention, alone or beside a convolution."""
        return attention_of(self.details) or self.detail(SelfAttention)

    @property
    def feed_forward(self) -> FeedForward:
        """The details of a feed-forward module."""
        return self.detail(FeedForward)

    @property
    def convolution(self) -> ConvolutionModule:
        """The details of a convolution module."""
        return self.detail(ConvolutionModule)

    @property
    def subsampling(self) -> Subsampling:
        """The details of the subsampling."""
        return self.detail(Subsampling)


@dataclasses.dataclass(frozen=True, eq=False)
class Structure:
    """Everything that was recognised in a model.

    Attributes:
        modules: In the order of data.
        linears: All linear layers of the graph, in modules or not, in graph order.
        convolutions: All other convolutions with constant filters, likewise.
        near_misses: What looked like a module and was not taken for one, and why.
    """

    modules: tuple[Module, ...]
    linears: tuple[Linear, ...]
    convolutions: tuple[Convolution, ...]
    near_misses: tuple[Refusal, ...]

    @cached_property
    def _owners(self) -> dict[ir.Node, Module]:
        return {node: module for module in self.modules for node in module.nodes}

    @cached_property
    def _by_id(self) -> dict[str, Module]:
        return {module.id: module for module in self.modules}

    def module_of(self, node: ir.Node) -> Module | None:
        """The module that a node belongs to; None for what several modules share."""
        return self._owners.get(node)

    def module(self, module_id: str) -> Module:
        """The module of an id.

        Raises:
            KeyError: No module has it.
        """
        return self._by_id[module_id]

    def of_kind(self, *kinds: Kind) -> tuple[Module, ...]:
        """The modules of the given kinds in the order of data."""
        return tuple(m for m in self.modules if m.kind in kinds)

    @property
    def layers(self) -> tuple[tuple[Module, ...], ...]:
        """The modules of every block, in the order of data."""
        blocks: dict[int, list[Module]] = {}
        for module in self.modules:
            if module.layer is not None:
                blocks.setdefault(module.layer, []).append(module)
        return tuple(tuple(blocks[index]) for index in sorted(blocks))
