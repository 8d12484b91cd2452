"""What holds for convolutions of codes alike, dense and sparse."""

from __future__ import annotations

import numpy as np
import onnx

from ...passes.conv2d_cases import Array, Conv2dCase
from ...passes.quant_layers import session


def run(model: onnx.ModelProto, feeds: dict[str, Array], *options: object) -> Array:
    """The output y; options are those of a session."""
    (y,) = session(model, *options).run(["y"], feeds)  # type: ignore[arg-type]
    return np.asarray(y)


def check_threads(case: Conv2dCase, library: str, threads: int) -> None:
    """More threads do not change a bit."""
    feeds = case.codes()
    alone = run(case.quant_model(), feeds, library)
    np.testing.assert_array_equal(run(case.quant_model(), feeds, library, threads), alone)


def check_utterances(case: Conv2dCase, library: str) -> None:
    """An utterance alone has the bits that it has in a batch."""
    feeds = case.codes()
    together = run(case.quant_model(), feeds, library)
    for b in range(case.batch):
        one = {name: array[b : b + 1] for name, array in feeds.items()}
        np.testing.assert_array_equal(run(case.quant_model(), one, library), together[b : b + 1])


def check_empty(case: Conv2dCase, library: str) -> Array:
    """An empty result has the shape of the definition."""
    y = run(case.quant_model(), case.codes(), library)
    assert y.shape == case.quant_expected(case.codes()).shape
    return y
