"""Which format each layer of a model has, and how much of it is zeros."""

from __future__ import annotations

import math

import onnx_ir as ir
from pydantic import Field

from ...passes.structure import recognise
from ...passes.structure.summary import LayerSummary, ModuleSummary, summarise
from ...runtime.record import Record


class LayerRecord(Record):
    """One linear layer or convolution."""

    id: str = Field(description="layer id; merged layers joined by `+`")
    kind: str = Field(description="what its module does")
    block: int | None = Field(description="index of its block; none outside of blocks")
    weights: int = Field(description="numbers in its weight")
    zeros: int = Field(description="zeros among them")
    format: str = Field(description="type of the stored weight")
    activations: str = Field(
        description="how its input is quantised: `static`, `dynamic`, or `float`, not at all"
    )

    @property
    def name(self) -> str:
        """The id in short, equal for the same layer of every block."""
        first, *merged = self.id.split("+")
        short = ".".join(first.split(".")[-2:])
        return f"{short} +{len(merged)}" if merged else short


def layers_of(model: ir.Model) -> tuple[LayerRecord, ...]:
    """All layers with stored weights, in the order of data."""
    summary = summarise(model, recognise(model), frames=None)
    return tuple(_record(module, layer) for module in summary.modules for layer in module.layers)


def _record(module: ModuleSummary, layer: LayerSummary) -> LayerRecord:
    return LayerRecord(
        id=layer.id,
        kind=module.kind,
        block=module.layer,
        weights=math.prod(layer.weight_shape),
        zeros=layer.zeros,
        format=layer.format,
        activations=layer.activations,
    )
