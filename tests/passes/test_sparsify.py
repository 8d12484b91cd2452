from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.lower.cpu import LowerCpu, balanced_layers
from confpress.passes.operators.sparselinear import BLOCK, WINDOW
from confpress.passes.quantize import Quantize
from confpress.passes.rewrite import constant
from confpress.passes.sparsify import (
    PATTERNS,
    Sparsify,
    energy_of,
    kept_by,
    kept_unevenly,
    output_error,
)
from hypothesis import given
from hypothesis import strategies as st

from .graphs import evaluate, operators, parse

RANDOM = np.random.default_rng(0)
LINEAR = """
<ir_version: 10, opset_import: ["": 21]>
net (float[b, t, 100] x, float[100, 33] w, float[33] c) => (float[b, t, 33] y)
{ p = MatMul (x, w)  y = Add (p, c) }"""


def linear() -> tuple[ir.Model, np.ndarray]:
    """A layer and its weight [K, N]."""
    weight = RANDOM.standard_normal((100, 33)).astype(np.float32)
    return parse(LINEAR, w=weight, c=RANDOM.standard_normal(33).astype(np.float32)), weight


CONVOLUTION = """
<ir_version: 10, opset_import: ["": 17]>
net (float[b, 1, t, 9] x, float[20, 1, 3, 3] first, float[30, 20, 3, 3] second)
    => (float[b, 30, u, f] y)
{ h = Conv <strides = [2, 2]> (x, first)  y = Conv <strides = [2, 2]> (h, second) }"""


def convolution() -> tuple[ir.Model, np.ndarray]:
    """Two convolutions and the weight of the second."""
    weight = RANDOM.standard_normal((30, 20, 3, 3)).astype(np.float32)
    first = RANDOM.standard_normal((20, 1, 3, 3)).astype(np.float32)
    return parse(CONVOLUTION, first=first, second=weight), weight


def convolved_by(model: ir.Model) -> list[np.ndarray]:
    weights = [constant(node.inputs[1]) for node in model.graph if node.op_type == "Conv"]
    return [weight for weight in weights if weight is not None]


def weight_of(model: ir.Model) -> np.ndarray:
    node = next(each for each in model.graph if each.op_type == "MatMul")
    array = constant(node.inputs[1])
    assert array is not None
    return array


@given(st.integers(1, 9), st.integers(1, 140), st.sampled_from(sorted(PATTERNS)))
def test_every_span_keeps_its_highest_scores(n: int, k: int, name: str) -> None:
    pattern = PATTERNS[name]
    scores = np.random.default_rng(n * k).permutation(n * k).reshape(n, k).astype(np.float32)
    keep = kept_by(scores, pattern)
    for start in range(0, k, pattern.span):
        span, kept = scores[:, start : start + pattern.span], keep[:, start : start + pattern.span]
        assert (kept.sum(axis=1) == min(pattern.share, span.shape[1])).all()
        lowest = np.where(kept, span, np.inf).min(axis=1)
        assert (np.where(kept, -1, span).max(axis=1) < lowest).all()


@pytest.mark.parametrize(("name", "kept"), [("8:16", 52), ("4:16", 28), ("2:16", 14)])
def test_weights_are_kept_as_they_are_or_zero(name: str, kept: int) -> None:
    model, weight = linear()
    result = Sparsify(name)(model)
    sparse = weight_of(model)
    assert [change.what.partition(",")[0] for change in result.changes] == [name]
    np.testing.assert_array_equal(sparse[sparse != 0], weight[sparse != 0])
    assert (np.count_nonzero(sparse, axis=0) == kept).all()


def test_measured_inputs_decide_what_matters() -> None:
    model, weight = linear()
    importance = np.full(100, 1e-12, np.float32)
    importance[::4] = 1.0
    Sparsify("4:16", importance={"x": importance})(model)
    np.testing.assert_array_equal(weight_of(model)[::4], weight[::4])


def test_weights_that_stay_make_good_what_goes() -> None:
    weight = np.random.default_rng(2).standard_normal((100, 33)).astype(np.float32)
    model = parse(LINEAR, w=weight, c=np.zeros(33, np.float32))
    random = np.random.default_rng(1)
    inputs = random.standard_normal((400, 10)) @ random.standard_normal((10, 100))
    moments = inputs.T @ inputs + np.eye(100)
    plain = model.clone()
    Sparsify(least_energy=0)(plain)
    result = Sparsify(least_energy=0, moments={"x": moments})(model)
    errors = [output_error(weight.T, weight_of(each).T, moments) for each in (plain, model)]
    assert errors[1] < 0.5 * errors[0]
    assert np.count_nonzero(weight_of(model)) == np.count_nonzero(weight_of(plain))
    assert f"{100 * errors[1]:.1f} % are wrong" in result.changes[0].what


def test_zeros_that_were_trained_stay_with_their_weights() -> None:
    weight = np.random.default_rng(3).standard_normal((100, 33)).astype(np.float32)
    model = parse(LINEAR, w=weight, c=np.zeros(33, np.float32))
    Sparsify(least_energy=0)(model)
    trained = weight_of(model)
    Sparsify(moments={"x": np.ones((100, 100)) + np.eye(100)})(model)
    assert np.array_equal(weight_of(model), trained)


def test_layers_that_would_lose_too_much_stay_dense() -> None:
    model, weight = linear()
    result = Sparsify("2:16", least_energy=0.6)(model)
    assert not result.changes
    assert "of the energy of its weights; least_energy asks for 60 %" in result.refusals[0].reason
    np.testing.assert_array_equal(weight_of(model), weight)


def test_convolutions_over_channels_keep_as_many_of_every_piece() -> None:
    model, weight = convolution()
    first = convolved_by(model)[0]
    (change,) = Sparsify("4:16")(model).changes
    assert change.what.startswith("4:16, ")
    kept_first, sparse = convolved_by(model)
    np.testing.assert_array_equal(kept_first, first)
    np.testing.assert_array_equal(sparse[sparse != 0], weight[sparse != 0])
    # A piece is 3 columns of 20 channels: spans of 16, 16, 16 and 12.
    rows = sparse.transpose(0, 2, 3, 1).reshape(90, 60)
    for start in range(0, 60, 16):
        assert (np.count_nonzero(rows[:, start : start + 16], axis=1) == 4).all()


def test_measured_channels_decide_what_matters_in_convolutions() -> None:
    model, weight = convolution()
    importance = np.where(np.arange(20) % 5 == 0, 1, 0).astype(np.float32)
    name = next(node for node in model.graph if node.op_type == "Conv").outputs[0].name
    Sparsify("4:16", importance={str(name): importance})(model)
    # No span of 16 holds more than four columns of these channels.
    np.testing.assert_array_equal(convolved_by(model)[1][:, ::5], weight[:, ::5])


def test_convolutions_that_would_lose_too_much_stay_dense() -> None:
    model, weight = convolution()
    result = Sparsify("2:16", least_energy=0.9)(model)
    assert "least_energy asks for 90 %" in result.refusals[0].reason
    np.testing.assert_array_equal(convolved_by(model)[1], weight)


def test_excluded_and_quantised_layers_stay_dense() -> None:
    model, _ = linear()
    assert "keeps it dense" in Sparsify(exclude=("*",))(model).refusals[0].reason
    Quantize()(model)
    assert "quantised already" in Sparsify()(model).refusals[0].reason


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_stay_as_they_are(bad: float) -> None:
    model, weight = linear()
    weight[3, 5] = bad
    result = Sparsify()(model)
    assert not result.modified
    assert "infinities or NaN" in result.refusals[0].reason


def test_patterns_that_no_layer_fits_are_told() -> None:
    model, _ = linear()
    result = Sparsify(exclude=("encodr.*",), layers={"other*": "2:16"})(model)
    assert [refusal.where for refusal in result.refusals] == ["encodr.*", "other*"]


@pytest.mark.parametrize(
    ("layers", "used"),
    [({"*": "2:16"}, "2:16"), ({"other*": "2:16"}, "4:16"), ({"?*": "8:16", "*": "2:16"}, "8:16")],
)
def test_layers_have_patterns_of_their_own(layers: dict[str, str], used: str) -> None:
    model, _ = linear()
    (change,) = Sparsify("4:16", least_energy=0, layers=layers)(model).changes
    assert change.what.startswith(f"{used}, ")


@given(st.integers(1, 5), st.sampled_from([48, 50, 60]), st.sampled_from(["4:16", "8:16"]))
def test_uneven_counts_keep_the_most_that_the_same_number_can(n: int, k: int, name: str) -> None:
    pattern = PATTERNS[name]
    generator = np.random.default_rng(n * k)
    scores = np.square(generator.standard_normal((n, k)) * np.exp(generator.standard_normal(k)))
    keep = kept_unevenly(scores.astype(np.float32), pattern)
    spans = [slice(start, start + 16) for start in range(0, k, 16)]
    for span in spans:
        (counts,) = {int(each) for each in keep[:, span].sum(axis=1)}
        assert counts % 4 == 0 or counts == k % 16
    ordered = [-np.sort(-scores[:, span], axis=1).sum(axis=0) for span in spans]
    budget = len(spans) * pattern.share // 4
    most = max(
        sum(float(best[: 4 * slots].sum()) for best, slots in zip(ordered, choice, strict=True))
        for choice in itertools.product(range(5), repeat=len(spans))
        if sum(choice) == budget
    )
    assert float(scores[keep].sum()) == pytest.approx(most, rel=1e-5)


def test_uneven_counts_keep_more_in_a_layer_that_is_no_larger() -> None:
    importance = np.where(np.arange(100) < 40, 9, 1).astype(np.float32)
    x = RANDOM.standard_normal((2, 5, 100)).astype(np.float32)
    model, weight = linear()
    scores = np.square(weight.T) * importance
    kept, sizes = [], []
    for counts, operator in (("equal", "SparseLinear"), ("energy", "SparseLinearUneven")):
        sparse = model.clone()
        Sparsify("4:16", importance={"x": importance}, counts=counts)(sparse)
        kept.append(energy_of(scores, weight_of(sparse).T != 0))
        Quantize()(sparse)
        (expected,) = evaluate(sparse, {"x": x})
        result = LowerCpu()(sparse)
        assert operators(sparse) == [operator]
        assert result.changes[0].what.startswith(f"{operator} (")
        (y,) = evaluate(sparse, {"x": x})
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        weights = [constant(value) for value in next(iter(sparse.graph)).inputs[1:]]
        sizes.append(sum(each.nbytes for each in weights if each is not None))
    assert kept[1] > kept[0] + 0.02
    assert sizes[1] <= sizes[0]


def test_counts_stay_equal_where_uneven_ones_keep_no_more() -> None:
    weight = np.tile(np.repeat([2.0, 1.0], [2, 14]), (33, 7))[:, :100].astype(np.float32)
    model = parse(LINEAR, w=np.ascontiguousarray(weight.T), c=np.zeros(33, np.float32))
    (change,) = Sparsify("2:16", least_energy=0, counts="energy")(model).changes
    assert change.what.startswith("2:16, ")


def test_unknown_options_are_errors() -> None:
    with pytest.raises(ConfpressError, match='"equal" or "energy", not "many"'):
        Sparsify(counts="many")
    with pytest.raises(ConfpressError, match='"3:16" is no sparsity pattern; there are 2:4'):
        Sparsify("3:16")
    with pytest.raises(ConfpressError, match='"4:15" is no sparsity pattern'):
        Sparsify(layers={"*": "4:15"})
    with pytest.raises(ConfpressError, match="between 0 and 1, not 2"):
        Sparsify(least_energy=2)


@pytest.mark.parametrize(
    ("name", "operator"),
    [("4:16", "SparseLinear"), ("1:4", "SparseLinear"), ("8:16", "QuantLinear")],
)
def test_target_cpu_skips_the_zeros_where_that_is_faster(name: str, operator: str) -> None:
    model, _ = linear()
    x = RANDOM.standard_normal((2, 5, 100)).astype(np.float32)
    Sparsify(name)(model)
    Quantize()(model)
    (expected,) = evaluate(model, {"x": x})
    result = LowerCpu()(model)
    assert operators(model) == [operator]
    if operator == "SparseLinear":
        assert [change.what for change in result.changes] == ["SparseLinear (4:16)"]
    (y,) = evaluate(model, {"x": x})
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("share", "reach", "name", "operator"),
    [
        ("75%", WINDOW, "4:16", "SparseLinear"),
        ("75%", BLOCK, "16:64", "SparseLinear"),
        ("87.5%", BLOCK, "8:64", "SparseLinear"),
        ("50%", BLOCK, "32:64", "QuantLinear"),
    ],
)
def test_a_share_of_zeros_takes_the_pattern_that_suits_the_processor(
    share: str, reach: int, name: str, operator: str
) -> None:
    model, _ = linear()
    (change,) = Sparsify(share, reach=reach)(model).changes
    assert change.what.startswith(f"{name}, ")
    Quantize()(model)
    LowerCpu(reach=reach)(model)
    assert operators(model) == [operator]


def test_target_cpu_goes_by_measured_times() -> None:
    model, _ = linear()
    Sparsify("4:16")(model)
    Quantize()(model)
    assert balanced_layers(model) == {(33, 100, PATTERNS["4:16"])}
    LowerCpu(costs={(33, 100, "4:16"): 2.0, (33, 100, "dense"): 1.0})(model)
    assert operators(model) == ["QuantLinear"]
