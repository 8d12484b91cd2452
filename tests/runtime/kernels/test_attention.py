"""The kernels of attention against their function bodies, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest

from ...passes.attention_cases import AttentionCase
from ...passes.quant_layers import session
from .malformed import attribute

# Tails of registers, tiles, blocks of queries (24) and of keys (256); heads of all widths.
CASES = (
    AttentionCase(1, 1, 1, 1, 1),
    AttentionCase(3, 1, 1, 2, 5, "full"),
    AttentionCase(1, 2, 2, 2, 44),
    AttentionCase(2, 23, 23, 4, 44, "full", packed=True),
    AttentionCase(2, 25, 25, 2, 64, "keys", packed=True),
    AttentionCase(1, 250, 250, 1, 44, packed=True),
    AttentionCase(2, 49, 255, 1, 17, "full"),
    AttentionCase(1, 31, 257, 2, 36, "keys"),
    AttentionCase(2, 7, 530, 1, 20, "full", tables=2),
    AttentionCase(2, 30, 513, 1, 12, "full", uniform=True),
    AttentionCase(1, 6, 9, 1, 256),
    AttentionCase(2, 70, 350, 2, 20, "band"),
    AttentionCase(2, 60, 60, 1, 17, "band", tables=0),
    AttentionCase(2, 60, 340, 1, 12, "band", uniform=True, tables=0),
    AttentionCase(2, 33, 70, 3, 20, "full", shared=True, tables=2),
    AttentionCase(2, 26, 26, 2, 64, shared=True),
    AttentionCase(1, 1, 1, 1, 1, tables=0),
    AttentionCase(2, 25, 25, 4, 44, "full", packed=True, tables=0),
    AttentionCase(2, 49, 530, 2, 20, "keys", tables=0),
    AttentionCase(2, 30, 257, 1, 17, "full", uniform=True, tables=0),
    AttentionCase(1, 1, 1, 1, 1, tables=0, bias="full"),
    AttentionCase(2, 25, 47, 3, 20, "full", tables=0, bias="full"),
    AttentionCase(2, 49, 530, 2, 17, "keys", packed=False, tables=0, bias="heads"),
    AttentionCase(2, 60, 340, 1, 12, "band", uniform=True, tables=0, bias="full"),
    AttentionCase(3, 33, 33, 2, 44, packed=True, tables=0, bias="keys"),
)
#: Of float32 sums in another order; outputs are averages of values of order 1.
TOLERANCE = 5e-6


def _run(model: onnx.ModelProto, feeds: dict[str, np.ndarray], *options: object) -> np.ndarray:
    (y,) = session(model, *options).run(["y"], feeds)  # type: ignore[arg-type]
    return np.asarray(y)


@pytest.mark.parametrize("case", CASES)
def test_kernel_is_its_body(library: str, case: AttentionCase) -> None:
    model, feeds = case.model(), case.feeds()
    y = _run(model, feeds, library)
    np.testing.assert_allclose(y, _run(model, feeds), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_kernel_is_its_body(library: str, case: AttentionCase) -> None:
    """Up to roundings that tip over: a weight may differ by a 256th of itself."""
    case = replace(case, bfloat16=True)
    model, feeds = case.model(), case.feeds()
    y, body = _run(model, feeds, library), _run(model, feeds)
    np.testing.assert_allclose(y, body, rtol=0, atol=2**-8)
    if case.keys <= 256:  # one block: few roundings tip over
        assert np.sqrt(np.mean((y - body) ** 2)) < 2**-14


@pytest.mark.parametrize("tables", [0, 1])
def test_bfloat16_is_near_the_definition_and_not_float32(library: str, tables: int) -> None:
    case = AttentionCase(2, 70, 230, 2, 44, "full", tables=tables, bfloat16=True)
    feeds = case.feeds()
    error = _run(case.model(), feeds, library) - case.expected(feeds)
    assert 2**-12 < np.sqrt(np.mean(error**2)) < 2**-8


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize(("uniform", "tables"), [(False, 1), (True, 1), (False, 0)])
def test_queries_without_keys(library: str, uniform: bool, tables: int, bfloat16: bool) -> None:
    case = AttentionCase(
        2, 40, 300, 2, 20, "full", uniform=uniform, tables=tables, bfloat16=bfloat16
    )
    feeds = case.feeds()
    feeds["mask"][1, 0, 5:9] = True
    y = _run(case.model(), feeds, library)
    expected = case.expected(feeds)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2**-6 if bfloat16 else TOLERANCE)
    if not uniform:
        np.testing.assert_array_equal(y[1, 5:9], 0)


def test_scores_far_apart(library: str) -> None:
    """The largest score comes in the last block of keys, and is far above the others."""
    case = AttentionCase(1, 9, 600, 1, 8)
    feeds = case.feeds()
    feeds["k"][0, -1] *= 300
    feeds["k"][0, 3] *= 200
    y = _run(case.model(), feeds, library)
    np.testing.assert_allclose(y, case.expected(feeds), rtol=0, atol=2e-4)


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_not_a_number_stays_in_its_query(library: str, bfloat16: bool, bits: int) -> None:
    case = AttentionCase(1, 30, 30, 2, 12, bfloat16=bfloat16)
    feeds = case.feeds()
    clean = _run(case.model(), feeds, library)
    feeds["q"].view(np.uint32)[0, 7, 1 + 3] = bits  # a feature of the first head
    y = _run(case.model(), feeds, library)
    assert np.isnan(y[0, 7, :12]).all()
    others = np.isfinite(y)
    assert others.sum() == y.size - 12
    np.testing.assert_array_equal(y[others], clean[others])


@pytest.mark.parametrize("bfloat16", [False, True])
def test_keys_outside_the_context_are_not_read(library: str, bfloat16: bool) -> None:
    """What is skipped may be anything, where a masked key would spoil sums with 0 · NaN."""
    case = AttentionCase(1, 50, 400, 2, 12, "band", tables=0, bfloat16=bfloat16)
    feeds = case.feeds()
    clean = _run(case.model(), feeds, library)
    feeds["v"][0, :300] = np.nan  # 31 keys before the first that a query takes
    np.testing.assert_array_equal(_run(case.model(), feeds, library), clean)


@pytest.mark.parametrize("used", [1, 44, 300])
def test_long_padding_is_not_read(library: str, used: int) -> None:
    case = AttentionCase(1, 30, 900, 2, 12, tables=0)
    feeds = case.feeds()
    feeds["mask"] = np.zeros((1, 1, 30, 900), bool)
    feeds["mask"][..., used:] = True
    clean = _run(case.model(), feeds, library)
    np.testing.assert_allclose(clean, case.expected(feeds), rtol=0, atol=TOLERANCE)
    feeds["v"][0, used:] = np.nan
    np.testing.assert_array_equal(_run(case.model(), feeds, library), clean)


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("lowest", [-np.inf, np.finfo(np.float32).min])
def test_the_lowest_bias_is_a_mask(library: str, uniform: bool, lowest: float) -> None:
    """Also of all keys of a query, and of the first block of keys; the body says the same."""
    case = AttentionCase(1, 30, 300, 2, 12, uniform=uniform, tables=0, bias="full")
    feeds = case.feeds()
    hidden = np.random.default_rng(1).random((1, 1, 30, 300)) < 0.4
    hidden[..., 3, :] = hidden[..., 5, :280] = True
    masked = feeds | {"mask": hidden}
    feeds["bias"][np.broadcast_to(hidden, feeds["bias"].shape)] = lowest
    y = _run(case.model(), feeds, library)
    np.testing.assert_array_equal(y, _run(case.model(), masked, library))
    np.testing.assert_allclose(y, _run(case.model(), feeds), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "case",
    [
        AttentionCase(2, 70, 290, 3, 44, "full"),
        AttentionCase(2, 30, 290, 3, 12, "keys", tables=0, bias="heads"),
        AttentionCase(2, 70, 290, 3, 44, "full", bfloat16=True),
    ],
)
def test_threads_do_not_change_a_bit(library: str, case: AttentionCase) -> None:
    model, feeds = case.model(), case.feeds()
    alone = _run(model, feeds, library, 1)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(_run(model, feeds, library, threads), alone)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_utterances_are_alike_in_every_batch(library: str, bfloat16: bool) -> None:
    case = AttentionCase(3, 33, 33, 2, 44, "keys", packed=True, bfloat16=bfloat16)
    feeds = case.feeds()
    together = _run(case.model(), feeds, library)
    for b in range(3):
        one = feeds | {"q": feeds["q"][b : b + 1], "mask": feeds["mask"][b : b + 1]}
        np.testing.assert_array_equal(_run(case.model(), one, library), together[b : b + 1])


def test_padding_does_not_reach_the_frames_that_count(library: str) -> None:
    """A shorter utterance in a batch, masked, gives what it gives alone."""
    long, short = 40, 27
    case = AttentionCase(1, long, long, 2, 44, packed=True)
    feeds = case.feeds()
    masked = feeds | {"mask": (np.arange(long) >= short)[None, None, None]}
    padded = _run(case.model(), masked, library)[:, :short]
    first = long - short
    alone = feeds | {"q": feeds["q"][:, :short], "p": feeds["p"][:, first : first + 2 * short - 1]}
    y = _run(case.model(), alone, library)
    np.testing.assert_allclose(padded, y, rtol=0, atol=TOLERANCE)


Feeds = dict[str, np.ndarray]
MALFORMED: dict[str, tuple[Callable[[Feeds], None], str]] = {
    "distances": (lambda f: f.update(p=f["p"][:, 1:]), r"1 x 6 distances where there are 1 or"),
    "features": (lambda f: f.update(q=f["q"][:, :, :6]), r"input Q has the shape \[2, 4, 6\]"),
    "bias": (lambda f: f.update(u=f["u"][:, :2]), r"input bias_u has the shape \[2, 2\]"),
    "mask": (lambda f: f.update(mask=np.zeros((2, 1, 3, 4), bool)), "does not broadcast to"),
    "keys": (lambda f: f.update(v=f["v"][:, 1:]), "different batches or frames"),
}


@pytest.mark.parametrize(
    ("name", "tables"), [*((name, 1) for name in MALFORMED), ("features", 0), ("mask", 0)]
)
def test_malformed_inputs_are_sentences(library: str, name: str, tables: int) -> None:
    case = AttentionCase(2, 4, 4, 2, 3, tables=tables)
    feeds = case.feeds()
    change, sentence = MALFORMED[name]
    change(feeds)
    with pytest.raises(Exception, match=f"{case.operator}'s .*{sentence}"):
        _run(case.model(), feeds, library)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((2, 3, 4, 4), r"has the shape \[2, 3, 4, 4\] which does not broadcast to \[2, 2, 4, 4\]"),
        ((2, 2, 4, 5), r"has the shape \[2, 2, 4, 5\] which"),
        ((2, 2, 4, 1), "has one value for 4 keys"),
    ],
)
def test_biases_of_other_shapes_are_sentences(
    library: str, shape: tuple[int, ...], sentence: str
) -> None:
    case = AttentionCase(2, 4, 4, 2, 3, tables=0, bias="full")
    feeds = case.feeds() | {"bias": np.zeros(shape, np.float32)}
    with pytest.raises(Exception, match=f"BiasedAttention's input bias {sentence}"):
        _run(case.model(), feeds, library)


@pytest.mark.parametrize("column", [-1, 2**31, 2**63 - 1])
def test_columns_whose_sums_overflow_are_sentences(library: str, column: int) -> None:
    for place in range(4):
        model = AttentionCase(2, 4, 4, 2, 3).model()
        attribute("columns", [column if i == place else 0 for i in range(4)])(model)
        with pytest.raises(Exception, match="attribute columns is"):
            session(model, library)
