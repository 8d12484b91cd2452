"""The proof that RelPosAttention may replace a part of a graph: both give the same in trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ..rewrite import constant
from .attention_parts import AttentionParts
from .region import Array, Region, evaluate_operator

#: Batch and frames at which both are evaluated; a graph that is right for one of them only, or that
#: mixes up axes, does not pass.
_CASES = ((2, 3), (1, 6))


@dataclasses.dataclass(frozen=True)
class AttentionTrial:
    """The graph and the operator on the same random inputs.

    Attributes:
        node: The operator's node.
        function: Its definition.
        region: The part of the graph that it would replace.
        parts: What was read off it.
        shared: Whether the items of a batch share their positions.
    """

    node: ir.Node
    function: ir.Function
    region: Region
    parts: AttentionParts
    shared: bool

    def difference(self) -> float:
        """The largest difference; infinite where sizes do not fit.

        Raises:
            RegionError: The graph cannot be evaluated.
        """
        worst = 0.0
        for batch, frames in _CASES:
            arrays = self._projections(batch, frames)
            mask = self._mask(batch, frames)
            scores = self.parts.scores
            masked = scores.masked
            given = arrays if masked is None else arrays | {masked: mask ^ scores.inverted}
            arrays |= self._scaled_position(arrays)
            for value in self.node.inputs[4:6]:
                assert value is not None
                arrays[value] = np.asarray(constant(value))
            assert self.node.inputs[6] is not None
            arrays[self.node.inputs[6]] = mask
            try:
                expected = self.region.evaluate(given)
            except ValueError:  # numpy's: the sizes do not fit
                return np.inf
            found = evaluate_operator(self.node, self.function, arrays)
            if expected.shape != found.shape:
                return np.inf
            worst = max(worst, float(np.abs(expected - found).max()))
        return worst

    def _projections(self, batch: int, frames: int) -> dict[ir.Value, Array]:
        generator = np.random.default_rng(frames)
        *projections, position = self.parts.sources
        shapes = {each.value: (batch, frames, each.width) for each in projections}
        shapes[position.value] = (1 if self.shared else batch, 2 * frames - 1, position.width)
        return {v: generator.standard_normal(s, np.float32) for v, s in shapes.items()}

    def _scaled_position(self, arrays: Mapping[ir.Value, Array]) -> dict[ir.Value, Array]:
        """The positions that the operator reads, where they are not the projection itself."""
        source, read = self.parts.position, self.node.inputs[3]
        assert read is not None
        if read is source.value:
            return {}
        heads, size = self.node.attributes.get_ints("shape")
        columns = arrays[source.value][..., source.column : source.column + heads * size]
        return {read: columns * np.float32(self.parts.position_factor)}

    def _mask(self, batch: int, frames: int) -> Array:
        """Random; the last batch item has a query without keys and a key that no query has."""
        masked = self.parts.scores.masked
        if masked is None:
            return np.zeros((1, 1, 1, 1), bool)
        assert masked.shape is not None, "the pass asks for it"
        wanted = (batch, 1, frames, frames)
        sizes = [1 if masked.shape[axis] == 1 else size for axis, size in enumerate(wanted)]
        mask = np.random.default_rng(frames).random(sizes) < 0.4
        mask[-1, 0, 0, :] = True
        mask[-1, 0, 1:, 1] = True
        return mask
