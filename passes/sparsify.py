"""Sparsify: layers with the same number of zeros in every few columns of every row.

Linear layers, and convolutions of the subsampling over several channels: of these, each tap over
time is a matrix of its own whose columns are the taps over frequency with their channels
(:mod:`.operators.sparseconv2d`). A pattern N:M keeps the N weights of every M neighbouring columns
that matter most and sets the others to zero; kernels then compute the N alone
(:mod:`.operators.sparselinear`).
The model stays a model of dense matrices, whatever runs it. A weight matters by its square, times
the mean square of its input where that was measured: the error that its loss adds to the output, if
inputs are not correlated. Columns do not matter alike either: with ``counts`` "energy" a layer
keeps as many weights as its pattern says, and columns that matter more have more of them
(:mod:`.operators.sparselinear_uneven`). Without training afterwards 75 % of zeros cost a speech
recogniser its words: such a model measures speed, nothing else, until it has been trained on.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from .balanced import highest, in_spans, of_columns, order_in_spans
from .base import InPlacePass, Journal, PassResult, layer_of
from .compressed_sensing import sense, squared_errors
from .errors import ConfpressError
from .linear import MatMulLayer, matmul_layers
from .operators.sparseconv2d import from_pieces, pieces
from .operators.sparselinear import BLOCK, SLOT, WINDOW, Pattern
from .rewrite import Patch, constant

Floats = npt.NDArray[np.float32]
Moments = npt.NDArray[np.float64]
#: How a layer's weights are divided among its spans of columns.
Counts = Literal["equal", "energy"]

#: Which weights a pattern keeps if these are their scores.
Choose = Callable[[Floats, Pattern], npt.NDArray[np.bool_]]

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
        importance: E[x²] of the inputs' channels by the input's value name, [K] of linear layers
            and [C] of convolutions; a layer without one is scored by magnitude.
        moments: E[x·xᵀ] of the inputs of linear layers by the input's value name, [K, K]; with them
            the weights that stay make good what goes (:mod:`.compressed_sensing`).
        reach: Bytes that a table look-up reaches where the model will run: BLOCK with AVX-512
            VBMI, else WINDOW.
        counts: "equal", as many weights in all spans; or "energy", a layer's weights in the spans
            where they keep the most energy, where that is more than equal counts keep; this is for
            linear layers.
    """

    pattern: str = "4:16"
    least_energy: float = 0.4
    exclude: tuple[str, ...] = ()
    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    importance: Mapping[str, Floats] = dataclasses.field(default_factory=dict)
    moments: Mapping[str, Moments] = dataclasses.field(default_factory=dict)
    reach: int = WINDOW
    counts: Counts = "equal"

    def __post_init__(self) -> None:
        for pattern in (self.pattern, *self.layers.values()):
            if pattern not in PATTERNS | SHARES:
                known = ", ".join((*PATTERNS, *SHARES))
                raise ConfpressError(f'"{pattern}" is no sparsity pattern; there are {known}.')
        if self.counts not in get_args(Counts):
            raise ConfpressError(f'counts are "equal" or "energy", not "{self.counts}".')
        if not 0 <= self.least_energy <= 1:
            raise ConfpressError(f"least_energy is between 0 and 1, not {self.least_energy}.")

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        journal.refuse_unknown((*self.exclude, *self.layers), model.graph)
        for layer in matmul_layers(model.graph):
            if self._wants(layer.id, journal):
                self._sparsify_linear(layer, journal)
        for node in sparse_convolutions(model.graph):
            if self._wants(layer_of(node), journal):
                self._sparsify_convolution(node, journal)
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)

    def _wants(self, layer: str, journal: Journal) -> bool:
        excluded = any(fnmatch.fnmatchcase(layer, each) for each in self.exclude)
        if excluded:
            journal.refuse(layer, "the recipe keeps it dense")
        return not excluded

    def _sparsify_linear(self, layer: MatMulLayer, journal: Journal) -> None:
        weight = constant(layer.weight)
        if weight is None or weight.dtype != np.float32:
            kind = "quantised already" if weight is None else f"in {weight.dtype}"
            journal.refuse(layer.id, f"its weight is {kind}; zeros are set in float32 weights")
            return
        name = layer.input.name or ""
        kept = self._kept(
            layer.id,
            weight.T,
            self.importance.get(name),
            journal,
            kept_unevenly if self.counts == "energy" else kept_by,
            lambda: self.moments.get(name),
        )
        if kept is not None:
            layer.node.replace_input_with(1, Patch(layer.node).constant(kept.T, "sparse"))

    def _sparsify_convolution(self, node: ir.Node, journal: Journal) -> None:
        weight = constant(node.inputs[1])
        assert weight is not None, "it is stored"
        source = node.inputs[0]
        importance = self.importance.get((source.name if source is not None else None) or "")
        if importance is not None:
            importance = np.tile(importance, weight.shape[3])
        kept = self._kept(layer_of(node), pieces(weight), importance, journal, kept_by)
        if kept is not None:
            dense = np.ascontiguousarray(from_pieces(kept, weight.shape))
            node.replace_input_with(1, Patch(node).constant(dense, "sparse"))

    def _kept(
        self,
        layer: str,
        rows: Floats,
        importance: Floats | None,
        journal: Journal,
        choose: Choose,
        moments: Callable[[], Moments | None] = lambda: None,
    ) -> Floats | None:
        """The rows of a layer with their zeros, or None where too little would be kept.

        Moments are asked for only if something goes: measuring them takes long.
        """
        if not np.isfinite(rows).all():
            journal.refuse(layer, "its weight holds infinities or NaN")
            return None
        scores = np.square(rows)
        if importance is not None:
            scores = scores * importance
        name = self._pattern_of(layer)
        pattern = PATTERNS[name]
        keep = choose(scores, pattern)
        form = name
        if choose is not kept_by:
            equal = kept_by(scores, pattern)
            if not np.array_equal(keep, equal):
                share = 100 * energy_of(scores, equal)
                form = f"{name} in the mean (equal counts would keep {share:.0f} %)"
        energy = energy_of(scores, keep)
        if energy < self.least_energy:
            journal.refuse(
                layer,
                f"{form} would keep {100 * energy:.0f} % of the energy of its weights; "
                f"least_energy asks for {100 * self.least_energy:.0f} %",
            )
            return None
        note = f"{form}, {100 * energy:.0f} % of the energy kept"
        sparse = np.where(keep, rows, np.float32(0))
        # What was trained so stays.
        read = None if np.array_equal(sparse, rows) else moments()
        if read is not None:
            before = output_error(rows, sparse, read)
            sparse = sense(rows, read, lambda scores: choose(scores, pattern))
            after = output_error(rows, sparse, read)
            note += f"; of the output's {100 * after:.1f} % are wrong ({100 * before:.1f} % before)"
        journal.change(layer, note)
        return sparse

    def _pattern_of(self, layer: str) -> str:
        named = (name for each, name in self.layers.items() if fnmatch.fnmatchcase(layer, each))
        pattern = next(named, self.pattern)
        return SHARES[pattern][self.reach] if pattern in SHARES else pattern


def sparse_convolutions(graph: ir.Graph) -> Iterator[ir.Node]:
    """Convolutions over two axes and several channels, of which kernels can skip zeros."""
    for node in graph:
        weight = constant(node.inputs[1]) if node.op_type == "Conv" and not node.domain else None
        if weight is None or weight.dtype != np.float32 or weight.ndim != 4:
            continue
        if node.attributes.get_int("group", 1) == 1 < weight.shape[1]:
            yield node


def kept_by(scores: Floats, pattern: Pattern) -> npt.NDArray[np.bool_]:
    """Which weights a pattern keeps: in every span of a row those of the highest scores.

    Args:
        scores: Not negative, [N, K]; of equal ones the first is kept.
        pattern: How many of how many neighbouring columns.

    Returns:
        bool [N, K].
    """
    return highest(scores, pattern.share, pattern.span)


def kept_unevenly(scores: Floats, pattern: Pattern) -> npt.NDArray[np.bool_]:
    """Which weights are kept if spans may have different numbers of them.

    A span keeps so many slots of :data:`.operators.sparselinear.SLOT`, the same in every row; in
    all there are as many as the pattern has. What one slot more would add is never more than the
    one before it added, so that taking the best slots one by one is the best choice.

    Args:
        scores: Not negative, [N, K].
        pattern: How many of how many neighbouring columns, in the mean.

    Returns:
        bool [N, K]; what :func:`kept_by` keeps where whole slots are too coarse to keep more.
    """
    equal = kept_by(scores, pattern)
    order = order_in_spans(scores, pattern.span)
    ranks = np.argsort(order, axis=2, kind="stable")
    ordered = np.take_along_axis(in_spans(scores, pattern.span), order, axis=2)
    spans = ordered.shape[1]
    kept = np.maximum(ordered, 0).sum(axis=0, dtype=np.float64)
    of_slots = kept.reshape(spans, -1, SLOT).sum(axis=2)
    budget = spans * pattern.share // SLOT
    best = np.argsort(-of_slots.reshape(-1), kind="stable")[:budget]
    slots = np.bincount(best // of_slots.shape[1], minlength=spans)
    uneven = of_columns(ranks < SLOT * slots[:, None], scores.shape[1])
    return uneven if energy_of(scores, uneven) > energy_of(scores, equal) else equal


def output_error(rows: Floats, sparse: Floats, moments: Moments) -> float:
    """Which share of a layer's output is wrong, as energy, 0 to about 1.

    Args:
        rows: Weights, [N, K].
        sparse: Those that take their place.
        moments: E[x·xᵀ] of the inputs, [K, K].
    """
    energy = float(squared_errors(rows, np.zeros_like(rows), moments).sum())
    return float(squared_errors(rows, sparse, moments).sum()) / energy if energy > 0 else 0.0


def energy_of(scores: Floats, keep: npt.NDArray[np.bool_]) -> float:
    """The share of the scores that is kept, 0 to 1."""
    total = scores.sum(dtype=np.float64)
    return float(scores[keep].sum(dtype=np.float64) / total) if total > 0 else 1.0
