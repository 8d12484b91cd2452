"""Where in an utterance a chunk lies, which some streaming models are told by their caller.

WeNet's exports for its own runtime (``wenet/bin/export_onnx_cpu.py``) hand on keys, values and
frames of convolutions, but not how far the utterance is: the caller says how many encoder frames
came before, counted from those that the cache of keys is for, and which keys of it hold any yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Place:
    """The inputs that tell a chunk's place.

    Attributes:
        offset: Input of the encoder frames before the chunk, int64 scalar.
        size: Input of the frames that the cache keeps, int64 scalar, where there is one.
        mask: Input that is true for keys that count, [1, 1, cache and chunk], where there is one.
        chunk: Encoder frames of a chunk.
        cache: Encoder frames that the cache of keys begins with, all of them empty.
        kept: What `size` is told.
    """

    offset: str
    size: str | None
    mask: str | None
    chunk: int
    cache: int
    kept: int

    @property
    def inputs(self) -> frozenset[str]:
        """The names of the inputs."""
        return frozenset(n for n in (self.offset, self.size, self.mask) if n is not None)

    def feeds(self, given: int) -> dict[str, Array]:
        """The inputs of the chunk that follows so many encoder frames."""
        feeds: dict[str, Array] = {self.offset: np.array(self.cache + given, np.int64)}
        if self.size is not None:
            feeds[self.size] = np.array(self.kept, np.int64)
        if self.mask is not None:
            empty = max(self.cache - given, 0)
            feeds[self.mask] = (np.arange(self.cache + self.chunk) >= empty)[None, None]
        return feeds


def read_place(model: ir.Model) -> Place | None:
    """The place that a model of WeNet asks for; None for every other model."""
    inputs = {value.name: value for value in model.graph.inputs}
    offset, mask = inputs.get("offset"), inputs.get("att_mask")
    chunk, left = _number(model, "chunk_size"), _number(model, "left_chunks")
    if offset is None or offset.dtype != ir.DataType.INT64 or offset.shape != ir.Shape([]):
        return None
    if chunk is None or left is None:
        return None
    return Place(
        offset="offset",
        size="required_cache_size" if "required_cache_size" in inputs else None,
        mask="att_mask" if mask is not None and mask.dtype == ir.DataType.BOOL else None,
        chunk=chunk,
        cache=max(chunk * left, 0) if chunk > 0 else 0,
        kept=chunk * left,
    )


def _number(model: ir.Model, key: str) -> int | None:
    text = model.metadata_props.get(key, "")
    return int(text) if text.lstrip("-").isdigit() else None
