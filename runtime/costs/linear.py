"""What a layer costs on this machine, dense and sparse: a table that lowering reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from pydantic import Field

from ...passes.errors import ConfpressError
from ...passes.fuse.subsampling_sparse import BalancedConvolution
from ...passes.operators.sparselinear import DENSE, Pattern
from ..benchmark.turns import take_turns, warm_up
from ..kernels import describe
from ..machine import describe_machine
from ..record import Record, read_record
from ..session import SessionOptions, create_session
from .models import Compared, convolution_models, linear_models

_ROUNDS = 15
#: Frames of the measured input; 5 s of speech after a subsampling by four.
FRAMES = 128


class LayerCost(Record):
    """The time of one layer."""

    n: int = Field(description="output channels")
    k: int = Field(description="inputs")
    form: str = Field(
        description="`dense`, or the pattern of the non-zeros, such as `4:16`; of convolutions "
        "behind their kernel and strides"
    )
    microseconds: float = Field(description="median over the rounds")


class CostTable(Record):
    """Times of layers, and where they hold: another processor or runtime has other times."""

    cpu: str
    kernels: str = Field(description="the path of the kernel library")
    onnxruntime: str
    threads: int
    frames: int
    layers: tuple[LayerCost, ...]

    def costs(self) -> dict[tuple[int, int, str], float]:
        """As lowering reads them."""
        return {(each.n, each.k, each.form): each.microseconds for each in self.layers}


def measure_costs(
    layers: Iterable[tuple[int, int, Pattern]],
    convolutions: Iterable[BalancedConvolution] = (),
    *,
    threads: int = 1,
    frames: int = FRAMES,
) -> CostTable:
    """Times layers of random weights, each dense and in its pattern, in turn.

    Args:
        layers: N, K and pattern of each linear layer.
        convolutions: Of a subsampling.
        threads: Of the session.
        frames: That a layer computes.

    Raises:
        ConfpressError: The kernel library was not built.
    """
    costs: dict[tuple[int, int, str], LayerCost] = {}

    def compare(n: int, k: int, forms: Sequence[str], compared: Compared) -> None:
        *models, feeds = compared
        options = SessionOptions(threads=threads)
        runs = [partial(create_session(each, options).run, None, feeds) for each in models]
        for run in runs:
            warm_up(run)
        medians = np.median(take_turns(runs, _ROUNDS, seed=0), axis=1) * 1e3
        for form, time in zip(forms, medians, strict=True):
            costs[n, k, form] = LayerCost(n=n, k=k, form=form, microseconds=round(float(time), 1))

    for n, k, pattern in sorted(layers, key=str):
        compare(n, k, (DENSE, str(pattern)), linear_models(n, k, pattern, frames))
    for each in sorted(convolutions, key=str):
        compare(*each.matrix, each.forms, convolution_models(each, frames))
    return CostTable(**_here(threads), frames=frames, layers=tuple(costs.values()))


def read_costs(path: Path, *, threads: int = 1) -> CostTable:
    """Reads a table that was measured here.

    Raises:
        ConfpressError: The file cannot be read or is no table, or it was measured elsewhere.
    """
    table = read_record(CostTable, path, "cost table")
    for name, here in _here(threads).items():
        if getattr(table, name) != here:
            raise ConfpressError(
                f"the cost table {path} was measured with {name} {getattr(table, name)}, "
                f"and here it is {here}; give the name of a new file to measure again."
            )
    return table


def _here(threads: int) -> dict[str, object]:
    return {
        "cpu": describe_machine()["cpu"],
        "kernels": describe().chosen,
        "onnxruntime": ort.__version__,
        "threads": threads,
    }
