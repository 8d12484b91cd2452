"""The proof that attention in one operator may replace a part of a graph, by trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ..rewrite import constant
from .attention_parts import AttentionParts
from .distances import looked_up, rows_of
from .region import Array, Region, evaluate_operator

#: Batch and frames at which both are evaluated; a graph that is right for one of them only, or that
#: mixes up axes, does not pass. In the first the last item has a query without keys: all queries,
#: where they share a mask. The other tells these apart. A batch or frames that a model has been
#: exported for, and the frames of blocks, are those of both.
_CASES = ((2, 3), (1, 6))
#: Frames of earlier chunks, where keys begin with some.
_PAST = 4
#: Distances that the operator is not given, where the graph has more than it needs.
_SPARE = 2
#: The place of positions among the sources.
_POSITIONS = 3


@dataclasses.dataclass(frozen=True)
class AttentionTrial:
    """The graph and the operator on the same random inputs.

    Attributes:
        node: The operator's node.
        function: Its definition.
        region: The part of the graph that it would replace.
        parts: What was read off it.
        shared: Whether the items of a batch share their positions.
        uncut: Positions before distances that are not needed were cut off, if they were.
    """

    node: ir.Node
    function: ir.Function
    region: Region
    parts: AttentionParts
    shared: bool
    uncut: ir.Value | None

    def difference(self) -> float:
        """The largest difference; infinite where sizes do not fit.

        Queries without keys may be NaN in the graph, which is what a Softmax of -inf alone gives;
        what the operator gives for them is then left out.

        Raises:
            RegionError: The graph cannot be evaluated.
        """
        worst = 0.0
        for items, few in _CASES:
            batch = self.parts.batch if isinstance(self.parts.batch, int) else items
            frames = self.parts.query.frames or few
            past = self._past(frames)
            arrays = self._projections(batch, frames, past)
            mask = self._mask(batch, frames, frames + past, with_keys=items == 1)
            scores = self.parts.scores
            if scores.summand is not None:
                arrays[scores.summand] = self._bias(scores.summand, batch, frames, frames + past)
            masked = scores.masked
            given = dict(arrays)
            if masked is not None:
                of_keys = masked.shape is not None and len(masked.shape) == 2
                given[masked] = (mask[:, 0, 0] if of_keys else mask) ^ scores.inverted
            arrays |= self._read(arrays)
            *_, read_mask = self.node.inputs
            assert read_mask is not None
            arrays[read_mask] = mask
            try:
                expected = self.region.evaluate(given)
                found = evaluate_operator(self.node, self.function, arrays)
            except ValueError:  # the sizes do not fit
                return np.inf
            if expected.ndim == 2:  # of the only item
                expected = expected[None]
            if self.parts.time_first:
                expected = expected.swapaxes(0, 1)
            # Of blocks the graph's context has its heads on an axis of their own.
            expected = expected.reshape(*expected.shape[:2], -1)
            if expected.shape != found.shape:
                return np.inf
            without_keys = np.broadcast_to(mask[:, 0].all(-1), expected.shape[:2])
            proves = ~(without_keys & np.isnan(expected).all(-1))
            # Not Python's max, which keeps the other number where one is NaN.
            worst = float(np.maximum(worst, np.abs(expected - found)[proves].max(initial=0)))
        return worst

    def _past(self, frames: int) -> int:
        """Frames of earlier chunks before as many queries."""
        if not self.parts.key.cached:
            return 0
        keys = self.parts.key.frames
        return _PAST if keys is None else keys - frames

    @property
    def _by_pair(self) -> bool:
        """Whether positions are vectors of all pairs of frames."""
        return self.parts.positions is not None and self.parts.positions.by_pair

    def _projections(self, batch: int, frames: int, past: int) -> dict[ir.Value, Array]:
        """Random arrays in place of all sources."""
        generator = np.random.default_rng(frames)
        heads, size = self.node.attributes.get_ints("shape")
        arrays: dict[ir.Value, Array] = {}
        for place, source in enumerate(self.parts.sources):
            items, rows = batch, frames + (past if source.cached else 0)
            if place == _POSITIONS:
                spare = 0 if self.uncut is None else _SPARE
                items, rows = (1 if self.shared else batch), 2 * frames + past - 1 + spare
            if place == _POSITIONS and constant(source.value) is not None:
                continue
            shape = (items, heads, rows, size) if source.by_head else (items, rows, source.width)
            if source.block is not None:
                shape = (items, rows, heads, size)
            array = generator.standard_normal(shape, np.float32)
            if place == _POSITIONS and self._by_pair:
                array = looked_up(array[0], frames, frames + past)
            elif source.unbatched:
                array = array[0]
            arrays[source.value] = array.swapaxes(0, 1) if source.time_first else array
        return arrays

    def _read(self, arrays: Mapping[ir.Value, Array]) -> dict[ir.Value, Array]:
        """What the operator reads of them, laid out, scaled and cut, and its constants."""
        found: dict[ir.Value, Array] = {}
        heads, size = self.node.attributes.get_ints("shape")
        values = list(self.node.inputs[:-1])
        if self.uncut is not None:
            values[_POSITIONS] = self.uncut
        for place, value in enumerate(values):
            assert value is not None
            if value in arrays:
                continue
            if (array := constant(value)) is not None:
                found[value] = array
            else:
                source = self.parts.sources[place]
                found[value] = arrays[source.value]
                if source.unbatched:
                    found[value] = found[value][None]
                if source.time_first:
                    found[value] = found[value].swapaxes(0, 1)
                if source.by_head:
                    found[value] = found[value].transpose(0, 2, 1, 3)
                if found[value].ndim == 4:
                    found[value] = found[value].reshape(*found[value].shape[:2], heads * size)
                if place == _POSITIONS and self.parts.positions is not None:
                    if self._by_pair:
                        found[value] = rows_of(found[value])
                    read = self.node.attributes.get_ints("columns")[_POSITIONS]
                    columns = found[value][..., source.column - read :]
                    found[value] = columns * np.float32(self.parts.positions.factor)
        if self.uncut is not None:
            cut = self.node.inputs[_POSITIONS]
            assert cut is not None, "the operator reads it in place of the uncut"
            found[cut] = {**arrays, **found}[self.uncut][:, :-_SPARE]
        return found

    def _bias(self, summand: ir.Value, batch: int, frames: int, keys: int) -> Array:
        """Random; without a mask the last item has a query whose scores are all the lowest."""
        heads, _ = self.node.attributes.get_ints("shape")
        sizes = _sizes(summand, (batch, heads, frames, keys))
        bias = np.random.default_rng(frames + 1).standard_normal(sizes, np.float32)
        if self.parts.scores.masked is None:
            bias[-1, :, 0] = np.finfo(np.float32).min
        return bias

    def _mask(self, batch: int, frames: int, keys: int, *, with_keys: bool) -> Array:
        """Random; every query has a key, or the last item a query without and a key for none."""
        masked = self.parts.scores.masked
        if masked is None:
            return np.zeros((1, 1, 1, 1), bool)
        sizes = _sizes(masked, (batch, 1, frames, keys))
        mask = np.random.default_rng(frames).random(sizes) < 0.4
        if with_keys:
            mask[..., 0] = False
        else:
            mask[-1, 0, 0, :] = True
            mask[-1, 0, 1:, 1] = True
        return mask


def _sizes(value: ir.Value, wanted: tuple[int, int, int, int]) -> list[int]:
    """Sizes of a value that broadcasts, on four axes also for a mask [batch, keys]."""
    assert value.shape is not None, "the pass asks for it"
    axes = list(value.shape)
    if len(axes) == 2:
        axes[1:1] = 1, 1
    return [1 if axis == 1 else size for axis, size in zip(axes, wanted, strict=True)]
