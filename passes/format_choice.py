"""MoFQ: of several formats, the one with the least error for each layer (arXiv 2305.12356).

Three errors judge a format; all are sums of squares, so that ratios of one layer compare:

``plain``     ``Σ (w - ŵ)²``, the paper's for weights.
``weighted``  ``Σ E[x_k²] (w_kn - ŵ_kn)²``: rows that see loud inputs count more.
``output``    ``Σ (X W - X̂ Ŵ)²`` on sampled inputs X, with what the format does to them; the paper's
              where activations are quantised too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .errors import ConfpressError
from .format_plan import Activations, FormatPlan, LayerFormat
from .formats import (
    FP8,
    HALVES,
    INT8,
    NumberFormat,
    quantize_matrix,
    stored_half,
    weight_error,
)
from .linear import MatMulLayer, matmul_layers
from .operators.quantlinear import EPSILON
from .quantize_linear import why_not_linear
from .rewrite import constant

Criterion = Literal["plain", "weighted", "output"]
Floats = npt.NDArray[np.float32]

_ACTIVATIONS: dict[Activations, NumberFormat] = {"int8": INT8, "fp8": FP8}


@dataclasses.dataclass(frozen=True)
class LayerInputs:
    """What calibration saw of a layer's inputs.

    Attributes:
        mean_square: E[x²], [K].
        rows: A sample of inputs, float32 [frames, K]; needed by the criterion ``output``.
    """

    mean_square: npt.NDArray[np.float64]
    rows: Floats | None = None


@dataclasses.dataclass(frozen=True)
class LayerErrors:
    """The error of every candidate for one layer.

    Attributes:
        layer: Its id.
        shape: Of its weight, [K, N].
        energy: What the criterion gives for a weight of zeros: errors relative to it compare
            between layers.
        errors: By candidate, in their order.
    """

    layer: str
    shape: tuple[int, int]
    energy: float
    errors: tuple[float, ...]

    @property
    def relative(self) -> tuple[float, ...]:
        """Errors as shares of the energy."""
        return tuple(error / max(self.energy, 1e-30) for error in self.errors)


def format_errors(
    model: ir.Model,
    candidates: Sequence[LayerFormat],
    inputs: Mapping[str, LayerInputs],
    criterion: Criterion,
    wanted: Callable[[str], bool] = lambda _: True,
) -> list[LayerErrors]:
    """Judges candidates for every linear layer that can have a format.

    Args:
        model: The float32 model, as it will be quantised.
        candidates: Formats to judge.
        inputs: By name of the layers' input values; ``plain`` needs none.
        criterion: What an error is.
        wanted: Whether a layer, by its id, takes part.

    Raises:
        ConfpressError: Calibration has not seen what the criterion needs.
    """
    found = []
    for layer in eligible_layers(model):
        if not wanted(layer.id):
            continue
        weight = constant(layer.weight)
        assert weight is not None, "eligible layers have constant weights"
        seen = inputs.get(str(layer.input.name))
        if criterion != "plain" and seen is None:
            raise ConfpressError(f"calibration has not seen the input of {layer.id}.")
        judge = _Judge(weight, seen, criterion)
        errors = tuple(judge.error(form) for form in candidates)
        k, n = weight.shape
        found.append(LayerErrors(layer.id, (k, n), judge.energy(), errors))
    return found


def mofq(errors: Sequence[LayerErrors], candidates: Sequence[LayerFormat]) -> FormatPlan:
    """The candidate with the least error for each layer; the first of equal ones."""
    return FormatPlan(
        layers={each.layer: candidates[int(np.argmin(each.errors))] for each in errors}
    )


def eligible_layers(model: ir.Model) -> Iterator[MatMulLayer]:
    """The linear layers that can have a format of weights alone."""
    weight_only = LayerFormat(weight="int8")
    for layer in matmul_layers(model.graph):
        if why_not_linear(layer, weight_only) is None:
            yield layer


class _Judge:
    """Errors of one layer."""

    def __init__(self, weight: Floats, inputs: LayerInputs | None, criterion: Criterion) -> None:
        self._weight = weight
        self._importance = None if inputs is None or criterion == "plain" else inputs.mean_square
        self._rows: Floats | None = None
        if criterion == "output":
            if inputs is None or inputs.rows is None:
                raise ConfpressError("the criterion 'output' needs sampled inputs of layers.")
            self._rows = inputs.rows
            self._exact = self._rows @ weight

    def error(self, form: LayerFormat) -> float:
        """The error of a format."""
        approximation = approximated(self._weight, form, self._importance)
        if self._rows is None:
            return weight_error(self._weight, approximation, self._importance)
        difference = rounded_inputs(self._rows, form.activations) @ approximation - self._exact
        return float(np.square(difference, dtype=np.float64).sum())

    def energy(self) -> float:
        """The error of a weight of zeros."""
        if self._rows is None:
            return weight_error(self._weight, np.zeros_like(self._weight), self._importance)
        return float(np.square(self._exact, dtype=np.float64).sum())


def approximated(
    weight: Floats, form: LayerFormat, importance: npt.NDArray[np.float64] | None = None
) -> Floats:
    """The weight that a format leaves, float32 in the same shape."""
    if form.weight == "float32":
        return weight
    if form.weight in HALVES:
        half: Floats = stored_half(weight, form.weight).astype(np.float32)
        return half
    return quantize_matrix(weight, form.scheme, importance).dequantized()


def rounded_inputs(rows: Floats, kind: Activations) -> Floats:
    """Inputs as a format quantises them, frame by frame."""
    if kind == "float32":
        return rows
    number = _ACTIVATIONS[kind]
    largest = np.maximum(np.abs(rows).max(axis=-1, keepdims=True), np.float32(EPSILON))
    scale = (largest / np.float32(number.top)).astype(np.float32)
    rounded: Floats = number.round(rows / scale) * scale
    return rounded
