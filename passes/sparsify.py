"""Sparsify: linear layers with the same number of zeros in every few columns of every row.

A pattern N:M keeps the N weights of every M neighbouring inputs of an output channel that matter
most and sets the others to zero; kernels then compute the N alone (:mod:`.operators.sparselinear`).
The model stays a model of dense matrices, whatever runs it. A weight matters by its square, times
the mean square of its input where that was measured: the error that its loss adds to the output, if
inputs are not correlated. Without training afterwards 75 % of zeros cost a speech recogniser its
words: such a model measures speed, nothing else, until it has been trained on.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import InPlacePass, Journal, PassResult
from .errors import ConfpressError
from .linear import MatMulLayer, matmul_layers
from .operators.sparselinear import BLOCK, WINDOW, Pattern
from .rewrite import Patch, constant

Floats = npt.NDArray[np.float32]

#: What a recipe may ask for. Short spans suit table look-ups of 16 bytes, blocks of 64 keep more.
PATTERNS: Final = {
    str(pattern): pattern
    for span in (4, 16, 64)
    for kept in (32, 16, 8)
    if (pattern := Pattern(kept, span)).kept * span >= 64
}
#: Shares of zeros that stand for a pattern: over the columns that a table look-up reaches.
SHARES: Final = {
    "50%": {WINDOW: "8:16", BLOCK: "32:64"},
    "75%": {WINDOW: "4:16", BLOCK: "16:64"},
    "87.5%": {WINDOW: "2:16", BLOCK: "8:64"},
}


@dataclasses.dataclass(frozen=True)
class Sparsify(InPlacePass):
    """Sets the weights that matter least to zero, in the same pattern in every row.

    Attributes:
        pattern: One of :data:`PATTERNS`, such as "4:16", or of :data:`SHARES`, such as "75%".
        least_energy: Layers that would keep a smaller share of their weights' energy (weighted as
            the scores are) stay dense; 0 refuses none.
        exclude: Patterns of layer ids that stay dense (``encoder.layers.0.*``).
        layers: The patterns of some layers, by patterns of layer ids; the first that fits counts,
            and ``pattern`` is for the rest.
        importance: E[x²] of the inputs of linear layers, [K], by the input's value name; a layer
            without one is scored by magnitude.
        reach: Bytes that a table look-up reaches where the model will run: BLOCK with AVX-512
            VBMI, else WINDOW.
    """

    pattern: str = "4:16"
    least_energy: float = 0.4
    exclude: tuple[str, ...] = ()
    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    importance: Mapping[str, Floats] = dataclasses.field(default_factory=dict)
    reach: int = WINDOW

    def __post_init__(self) -> None:
        for pattern in (self.pattern, *self.layers.values()):
            if pattern not in PATTERNS | SHARES:
                known = ", ".join((*PATTERNS, *SHARES))
                raise ConfpressError(f'"{pattern}" is no sparsity pattern; there are {known}.')
        if not 0 <= self.least_energy <= 1:
            raise ConfpressError(f"least_energy is between 0 and 1, not {self.least_energy}.")

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for layer in matmul_layers(model.graph):
            if any(fnmatch.fnmatchcase(layer.id, each) for each in self.exclude):
                journal.refuse(layer.id, "the recipe keeps it dense")
                continue
            self._sparsify(layer, journal)
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)

    def _sparsify(self, layer: MatMulLayer, journal: Journal) -> None:
        weight = constant(layer.weight)
        if weight is None or weight.dtype != np.float32:
            journal.refuse(
                layer.id, "its weight is quantised already; zeros are set in float32 weights"
            )
            return
        scores = np.square(weight.T)
        importance = self.importance.get(layer.input.name or "")
        if importance is not None:
            scores = scores * importance
        pattern = self._pattern_of(layer.id)
        keep = kept_by(scores, PATTERNS[pattern])
        total = scores.sum(dtype=np.float64)
        energy = float(scores[keep].sum(dtype=np.float64) / total) if total > 0 else 1.0
        if energy < self.least_energy:
            journal.refuse(
                layer.id,
                f"{pattern} would keep {100 * energy:.0f} % of the energy of its weights; "
                f"least_energy asks for {100 * self.least_energy:.0f} %",
            )
            return
        dense = np.where(keep.T, weight, np.float32(0))
        layer.node.replace_input_with(1, Patch(layer.node).constant(dense, pattern))
        journal.change(layer.id, f"{pattern}, {100 * energy:.0f} % of the energy kept")

    def _pattern_of(self, layer: str) -> str:
        named = (name for each, name in self.layers.items() if fnmatch.fnmatchcase(layer, each))
        pattern = next(named, self.pattern)
        return SHARES[pattern][self.reach] if pattern in SHARES else pattern


def kept_by(scores: Floats, pattern: Pattern) -> npt.NDArray[np.bool_]:
    """Which weights a pattern keeps: in every span of a row those of the highest scores.

    Args:
        scores: Not negative, [N, K]; of equal ones the first is kept.
        pattern: How many of how many neighbouring columns.

    Returns:
        bool [N, K].
    """
    n, k = scores.shape
    # Columns that pad the last span come after all others, so that they take no real one's place.
    padded = np.pad(scores, ((0, 0), (0, -k % pattern.span)), constant_values=-1)
    spans = padded.reshape(n, -1, pattern.span)
    chosen = np.argsort(-spans, axis=2, kind="stable")[:, :, : pattern.share]
    keep = np.zeros(spans.shape, np.bool_)
    np.put_along_axis(keep, chosen, True, axis=2)
    return keep.reshape(n, -1)[:, :k]
