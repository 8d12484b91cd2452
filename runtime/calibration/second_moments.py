"""Second moments of what linear layers read, as many at once as memory has room for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...passes.linear import MatMulLayer, weight_shape
from ..interface import FloatArray
from .calibrate import Observed, calibrate

#: Bytes of second moments in memory at once; more layers take another run of the recordings.
MOST_BYTES = 256 * 2**20


def groups(layers: Iterable[MatMulLayer], most_bytes: int = MOST_BYTES) -> list[list[MatMulLayer]]:
    """Layers in order, as many in each group as their second moments have room."""
    found: list[list[MatMulLayer]] = []
    moments: dict[str, int] = {}
    for layer in layers:
        name, size = str(layer.input.name), 8 * weight_shape(layer)[0] ** 2
        if not found or (name not in moments and sum(moments.values()) + size > most_bytes):
            found.append([])
            moments = {}
        found[-1].append(layer)
        moments[name] = size
    return found


class SecondMoments(Mapping[str, npt.NDArray[np.float64]]):
    """E[x·xᵀ], float64 [K, K], by the name of the value that layers read.

    They are measured when they are asked for, of a whole group of layers at once; asking for layers
    in their order takes as many runs of the recordings as there are groups.
    """

    def __init__(
        self,
        model: ir.Model,
        layers: Sequence[MatMulLayer],
        features: Iterable[FloatArray],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Prepares to measure.

        Args:
            model: What reads; it is measured as it is now, whatever happens to it later.
            layers: Of the model, with stored weights.
            features: float32 [mels, frames] each, as often as they are asked for.
            most_bytes: See :data:`MOST_BYTES`.
        """
        self._model = model.clone()
        self._features = features
        self._names = [
            tuple(dict.fromkeys(str(layer.input.name) for layer in group))
            for group in groups(layers, most_bytes)
        ]
        self._measured: dict[str, npt.NDArray[np.float64]] = {}

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        """Of one value.

        Raises:
            KeyError: no layer reads it.
            ConfpressError: the model cannot be calibrated.
        """
        if name not in self._measured:
            group = next((each for each in self._names if name in each), None)
            if group is None:
                raise KeyError(name)
            # One group in memory.
            self._measured = {}
            watched = [Observed(each, -1, gram=True, histogram=False) for each in group]
            for value, seen in calibrate(self._model, self._features, watched).items():
                assert seen.gram is not None, "it was asked for"
                self._measured[value] = seen.gram / max(seen.channel_count, 1)
        return self._measured[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for group in self._names for name in group))

    def __len__(self) -> int:
        return len(list(iter(self)))
