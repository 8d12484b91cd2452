"""The kernels of ConvModule against its function body, on every instruction set."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ...passes.conv_cases import ConvCase
from ...passes.quant_layers import session
from .malformed import attribute

# Tails of registers, tiles and blocks of frames (256).
CASES = (
    ConvCase(1, 1, 1, 1),
    ConvCase(2, 1, 5, 31, "frames", "silu"),
    ConvCase(1, 15, 16, 3, activation="silu"),
    ConvCase(3, 17, 33, 9, "frames"),
    ConvCase(1, 250, 176, 31, "frames", "silu"),
    ConvCase(2, 257, 20, 31, "shared", "silu", causal=True),
    ConvCase(1, 600, 7, 256, gate_first=True),
    ConvCase(2, 64, 48, 7, causal=True),
)
#: Of float32 sums of up to 256 terms of order 3 in another order.
TOLERANCE = 1e-4


def _run(model: onnx.ModelProto, feeds: dict[str, np.ndarray], *options: object) -> np.ndarray:
    (y,) = session(model, *options).run(["y"], feeds)  # type: ignore[arg-type]
    return np.asarray(y)


@pytest.mark.parametrize("case", CASES)
def test_kernel_is_its_body(library: str, case: ConvCase) -> None:
    model, feeds = case.model(), case.feeds()
    y = _run(model, feeds, library)
    np.testing.assert_allclose(y, _run(model, feeds), rtol=1e-6, atol=TOLERANCE)


def test_gates_of_all_magnitudes(library: str) -> None:
    case = ConvCase(1, 40, 16, 1)
    feeds = case.feeds()
    feeds["x"][0, :, 16:] = np.linspace(-300, 300, 40)[:, None]
    y = _run(case.model(), feeds, library)
    with np.errstate(over="ignore"):
        expected = case.expected(feeds)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001])
@pytest.mark.parametrize("column", [1, 3 + 1], ids=["value", "gate"])
def test_not_a_number_reaches_its_taps_alone(library: str, column: int, bits: int) -> None:
    case = ConvCase(1, 20, 3, 3, activation="silu")
    feeds = case.feeds()
    feeds["x"].view(np.uint32)[0, 10, column] = bits
    y = _run(case.model(), feeds, library)
    assert np.isnan(y[0, 9:12, 1]).all()
    assert np.isfinite(np.delete(y, 1, axis=2)).all()
    assert np.isnan(y).sum() == 3


def test_masked_frames_are_not_read(library: str) -> None:
    case = ConvCase(2, 30, 5, 7, "frames")
    feeds = case.feeds()
    clean = _run(case.model(), feeds, library)
    feeds["x"][feeds["mask"][:, 0]] = np.nan
    np.testing.assert_array_equal(_run(case.model(), feeds, library), clean)


def test_threads_do_not_change_a_bit(library: str) -> None:
    case = ConvCase(2, 700, 50, 31, "frames", "silu")
    model, feeds = case.model(), case.feeds()
    alone = _run(model, feeds, library, 1)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(_run(model, feeds, library, threads), alone)


def test_utterances_are_alike_in_every_batch(library: str) -> None:
    case = ConvCase(3, 60, 20, 15, "frames")
    feeds = case.feeds()
    together = _run(case.model(), feeds, library)
    for b in range(3):
        one = {name: array[b : b + 1] for name, array in feeds.items()}
        np.testing.assert_array_equal(_run(case.model(), one, library), together[b : b + 1])


def test_malformed_nodes_are_sentences(library: str) -> None:
    case = ConvCase(1, 8, 4, 3)
    feeds = case.feeds()
    free = case.model()
    free.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "f"
    with pytest.raises(Exception, match=r"input X has the shape \[1, 8, 6\]"):
        _run(free, feeds | {"x": feeds["x"][..., :6]}, library)
    with pytest.raises(Exception, match="does not broadcast to"):
        _run(case.model(), feeds | {"mask": np.zeros((1, 1, 5), bool)}, library)
    model = case.model()
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((4, 1, 257), np.float32), "filters")
    )
    with pytest.raises(Exception, match="1 to 256 taps"):
        session(model, library)


@pytest.mark.parametrize("name", ["pads", "columns"])
@pytest.mark.parametrize("size", [-1, 2**31, 2**63 - 1])
def test_sizes_whose_sums_overflow_are_sentences(library: str, name: str, size: int) -> None:
    for sizes in ([size, 0], [0, size], [size, size]):
        model = ConvCase(1, 8, 4, 3).model()
        attribute(name, sizes)(model)
        with pytest.raises(Exception, match=f"attribute {name} is"):
            session(model, library)
