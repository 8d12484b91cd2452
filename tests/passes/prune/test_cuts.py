"""Cuts in small graphs, one spelling each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from confpress.passes.prune import RemovePruned
from confpress.passes.prune.align import align
from confpress.passes.prune.analysis import analyse
from confpress.passes.prune.size import Size
from confpress.passes.prune.surgery import Surgery

from tests.passes.graphs import difference, evaluate, operators, parse
from tests.passes.prune.masks import parameters

Array = npt.NDArray[np.generic]
RANDOM = np.random.default_rng(0)


def weight(*shape: int, zero: tuple[int, list[int]] | None = None) -> npt.NDArray[np.float32]:
    array = RANDOM.standard_normal(shape).astype(np.float32)
    if zero is not None:
        np.moveaxis(array, zero[0], 0)[zero[1]] = 0
    return array


def check(text: str, x: tuple[int, ...] = (2, 5, 8), **constants: Array) -> ir.Model:
    """Prunes a graph; the outputs must stay."""
    model = parse(f'<ir_version: 10, opset_import: ["": 21]> {text}', **constants)
    original = model.clone()
    RemovePruned()(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    feeds = {"x": RANDOM.standard_normal(x).astype(np.float32)}
    assert difference(model, original, feeds) <= 1e-5
    return model


def shape_of(model: ir.Model, operator: str, index: int = 1) -> tuple[int, ...]:
    """Shape of the constant that the first node of a kind reads."""
    node = next(node for node in model.graph if node.op_type == operator)
    value = node.inputs[index]
    assert value is not None and value.const_value is not None
    return tuple(value.const_value.shape.numpy())


def test_a_constant_unit_goes_into_the_next_bias() -> None:
    model = check(
        """net (float[b, t, 8] x, float[8, 6] w1, float[6] b1, float[6, 8] w2, float[8] b2)
        => (float[b, t, 8] y) {
          h = MatMul (x, w1)  s = Add (h, b1)  a = Sigmoid (s)  o = MatMul (a, w2)  y = Add (o, b2)
        }""",
        w1=weight(8, 6, zero=(1, [1, 4])), b1=weight(6), w2=weight(6, 8), b2=weight(8),
    )  # fmt: skip
    assert shape_of(model, "MatMul") == (8, 4)
    assert operators(model) == ["MatMul", "Add", "Sigmoid", "MatMul", "Add"]


def test_shared_constants_are_copied_before_they_are_cut() -> None:
    model = check(
        """net (float[b, t, 8] x, float[8, 6] w1, float[6] m, float[6, 8] w2)
        => (float[b, t, 8] y, float[b, t, 6] z) {
          h = MatMul (x, w1)  k = Mul (h, m)  y = MatMul (k, w2)  z = MatMul (x, w1)
        }""",
        w1=weight(8, 6), m=np.array([1, 0, 1, 1, 0, 0], np.float32), w2=weight(6, 8),
    )  # fmt: skip
    shapes = [n.inputs[1].shape for n in model.graph if n.op_type == "MatMul" and n.inputs[1]]
    assert sorted(tuple(s.numpy()) for s in shapes if s) == [(3, 8), (8, 3), (8, 6)]
    assert "Mul" not in operators(model)


def test_a_bias_that_is_added_has_the_type_of_the_product() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
        net (float16[b, 8] x, float16[8, 6] w1, float16[6] b1, int8[6, 4] codes, float16[4] scales)
        => (float16[b, 4] y) {
          h = MatMul (x, w1)  s = Add (h, b1)  a = Sigmoid (s)
          w2 = DequantizeLinear <axis = 1> (codes, scales)  y = MatMul (a, w2)
        }"""
    halves = {"w1": weight(8, 6, zero=(1, [1, 4])), "b1": weight(6), "scales": np.full(4, 0.01)}
    constants = {name: array.astype(np.float16) for name, array in halves.items()}
    model = parse(text, codes=RANDOM.integers(-127, 127, (6, 4), np.int8), **constants)
    original = model.clone()
    assert RemovePruned()(model).modified
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert difference(model, original, {"x": weight(3, 8).astype(np.float16)}) < 1e-2


def test_quantised_weights_are_cut_with_their_scales() -> None:
    """int8 weights, a scale for every output channel."""
    codes = RANDOM.integers(-127, 127, (6, 8)).astype(np.int8)
    codes[[0, 3]] = 0
    model = check(
        """net (float[b, t, 8] x, int8[8, 6] w1, float[6] s1, int8[6, 8] w2, float[8] s2)
        => (float[b, t, 8] y) {
          d1 = DequantizeLinear <axis = 1> (w1, s1)
          h = MatMul (x, d1)  a = Relu (h)
          d2 = DequantizeLinear <axis = 1> (w2, s2)
          y = MatMul (a, d2)
        }""",
        w1=RANDOM.integers(-127, 127, (8, 6)).astype(np.int8), s1=np.abs(weight(6)) / 100,
        w2=codes, s2=np.abs(weight(8)) / 100,
    )  # fmt: skip
    first, second = (n for n in model.graph if n.op_type == "DequantizeLinear")
    assert [tuple(v.const_value.shape.numpy()) for v in first.inputs] == [(8, 4), (4,)]  # type: ignore[union-attr]
    assert [tuple(v.const_value.shape.numpy()) for v in second.inputs] == [(4, 8), (8,)]  # type: ignore[union-attr]


def test_groups_go_as_a_whole() -> None:
    """Two of four groups read nothing that is used later."""
    model = check(
        """net (float[b, 8, t] x, float[8, 8, 1] w1, float[12, 2, 3] w2, float[4, 12, 1] w3)
        => (float[b, 4, t] y) {
          h = Conv (x, w1)  g = Conv <group = 4, pads = [1, 1]> (h, w2)  y = Conv (g, w3)
        }""",
        (2, 8, 5),
        w1=weight(8, 8, 1), w2=weight(12, 2, 3),
        w3=weight(4, 12, 1, zero=(1, [3, 4, 5, 6, 9, 10, 11])),
    )  # fmt: skip
    grouped = next(n for n in model.graph if n.attributes.get_int("group", 1) > 1)
    assert grouped.attributes.get_int("group", 1) == 2
    assert shape_of(model, "Conv") == (4, 8, 1)


def test_subsampling_channels_go_through_the_reshape() -> None:
    """Channels × frequencies become one axis before the projection."""
    model = check(
        """net (float[b, 1, t, 8] x, float[6, 1, 3, 3] w1, float[6] b1, float[24, 5] w2)
        => (float[b, u, 5] y) {
          h = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w1, b1)  a = Relu (h)
          p = Transpose <perm = [0, 2, 1, 3]> (a)
          shape = Shape (p)  zero = Constant <value = int64[1] {0}> ()
          one = Constant <value = int64[1] {1}> ()  two = Constant <value = int64[1] {2}> ()
          three = Constant <value = int64[1] {3}> ()
          n = Gather (shape, zero)  t2 = Gather (shape, one)
          c = Gather (shape, two)  f = Gather (shape, three)  cf = Mul (c, f)
          target = Concat <axis = 0> (n, t2, cf)
          r = Reshape (p, target)  y = MatMul (r, w2)
        }""",
        (2, 1, 9, 8),
        w1=weight(6, 1, 3, 3, zero=(0, [2, 5])), b1=np.zeros(6, np.float32), w2=weight(24, 5),
    )  # fmt: skip
    assert shape_of(model, "Conv") == (4, 1, 3, 3)
    assert shape_of(model, "MatMul") == (16, 5)


def test_an_expert_behind_a_gate_of_zero_goes() -> None:
    model = check(
        """net (float[b, t, 8] x, float[8, 6] a1, float[6, 8] a2, float[8, 6] b1, float[6, 8] b2,
             float[8, 2] r, float[2] m)
        => (float[b, t, 8] y) {
          logits = MatMul (x, r)  p = Softmax (logits)  kept = Mul (p, m)
          g0, g1 = Split <axis = -1, num_outputs = 2> (kept)
          h0 = MatMul (x, a1)  e0 = Relu (h0)  o0 = MatMul (e0, a2)  w0 = Mul (o0, g0)
          h1 = MatMul (x, b1)  e1 = Relu (h1)  o1 = MatMul (e1, b2)  w1 = Mul (o1, g1)
          y = Add (w0, w1)
        }""",
        a1=weight(8, 6), a2=weight(6, 8), b1=weight(8, 6), b2=weight(6, 8), r=weight(8, 2),
        m=np.array([1, 0], np.float32),
    )  # fmt: skip
    assert operators(model).count("MatMul") == 3
    assert parameters(model) <= 2 * 48 + 16 + 2


def test_an_index_without_an_axis_is_moved() -> None:
    model = check(
        """net (float[b, t, 8] x, float[8, 6] w1, float[6, 8] w2, int64 five)
        => (float[b, t, 8] y, float[b, t] z) {
          h = MatMul (x, w1)  y = MatMul (h, w2)  z = Gather <axis = -1> (h, five)
        }""",
        w1=weight(8, 6, zero=(1, [1, 4])), w2=weight(6, 8), five=np.array(5),
    )  # fmt: skip
    assert shape_of(model, "MatMul") == (8, 4)


def test_a_slice_keeps_the_type_of_its_vectors() -> None:
    model = check(
        """net (float[b, t, 8] x, float[8, 6] w1, float[3, 8] w2, int32[1] none, int32[1] three,
             int32[1] six, int32[1] last)
        => (float[b, t, 8] y) {
          h = MatMul (x, w1)  l = Slice (h, none, three, last)  r = Slice (h, three, six, last)
          p = Mul (l, r)  y = MatMul (p, w2)
        }""",
        w1=weight(8, 6, zero=(1, [1, 4])), w2=weight(3, 8),
        **{n: np.array([i], np.int32) for n, i in (("none", 0), ("three", 3), ("six", 6))},
        last=np.array([-1], np.int32),
    )  # fmt: skip
    assert shape_of(model, "MatMul") == (8, 4)


def test_what_an_unknown_operator_reads_stays() -> None:
    text = """net (float[b, t, 8] x, float[8, 6] w1, float[6, 8] w2)
        => (float[b, t, 8] y, float[k, b, t, 6] z) {
          h = MatMul (x, w1)  y = MatMul (h, w2)  z = Trilu (h)
        }""".replace("float[k, b, t, 6] z", "float[b, t, 6] z")
    model = check(text, w1=weight(8, 6), w2=weight(6, 8, zero=(0, [1, 2])))
    assert shape_of(model, "MatMul") == (8, 6)


def test_weights_that_a_caller_may_feed_stay() -> None:
    model = parse(
        """<ir_version: 10, opset_import: ["": 21]>
        net (float[b, 8] x, float[8, 6] w1, float[6, 8] w2) => (float[b, 8] y)
        { h = MatMul (x, w1)  y = MatMul (h, w2) }""",
        w2=weight(6, 8),
    )
    default = model.graph.inputs[1]
    default.const_value = ir.tensor(weight(8, 6, zero=(1, [1, 4])), name="w1")
    model.graph.register_initializer(default)
    original = model.clone()
    RemovePruned()(model)
    x = weight(3, 8)
    for feeds in ({"x": x}, {"x": x, "w1": weight(8, 6)}):
        assert difference(model, original, feeds) <= 1e-5


def test_an_expand_to_a_size_of_another_name_stays() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
        net (float[one, 4] x, float[batch, 4] z) => (float[rows, 4] y)
        { s = Shape (z)  e = Expand (x, s)  y = Concat <axis = 0> (e, z) }"""
    model = parse(text)
    RemovePruned()(model)
    assert difference(model, parse(text), {"x": weight(1, 4), "z": weight(3, 4)}) == 0


def test_a_refusal_says_what_keeps_an_idle_place() -> None:
    model = parse(
        """<ir_version: 10, opset_import: ["": 21]>
        net (float[b, t, 8] x, float[8, 6] w1, float[6] s, float[6, 8] w2)
        => (float[b, t, 8] y) {
          h = MatMul (x, w1)  n = LayerNormalization (h, s)  y = MatMul (n, w2)
        }""",
        w1=weight(8, 6), s=weight(6), w2=weight(6, 8, zero=(0, [1, 2])),
    )  # fmt: skip
    result = RemovePruned()(model)
    assert not result.modified
    assert "2 of 6 inputs" in result.refusals[0].reason
    assert "LayerNormalization" in result.refusals[0].reason


def test_groups_of_axes_of_a_reshape() -> None:
    b, t, four, heads = Size.symbol("b"), Size.symbol("t"), Size.of(4), Size.of(3)
    assert align([b, t, Size.of(12)], [b, t, four, heads]) == [
        ((0,), (0,)),
        ((1,), (1,)),
        ((2,), (2, 3)),
    ]
    assert align([b * four, t], [b, four, t]) == [((0,), (0, 1)), ((1,), (2,))]
    assert align([b, four, t, t + t], [b, four, t + t, t]) == [
        ((0,), (0,)),
        ((1,), (1,)),
        ((2, 3), (2, 3)),
    ]


def test_a_streaming_state_shrinks_with_its_channels() -> None:
    """The convolution reads the last two frames of the chunk before."""
    model = parse(
        """<ir_version: 10, opset_import: ["": 21]>
        net (float[b, 8, t] x, float[b, 6, 2] cache, float[6, 8, 1] w1, float[6, 1, 3] w2,
             float[4, 6, 1] w3, int64[1] start, int64[1] end, int64[1] axis)
        => (float[b, 4, t] y, float[b, 6, 2] next) {
          h = Conv (x, w1)  both = Concat <axis = 2> (cache, h)
          next = Slice (both, start, end, axis)
          d = Conv <group = 6> (both, w2)  y = Conv (d, w3)
        }""",
        w1=weight(6, 8, 1), w2=weight(6, 1, 3), w3=weight(4, 6, 1, zero=(1, [0, 4])),
        start=np.array([-2]), end=np.array([2**31]), axis=np.array([2]),
    )  # fmt: skip
    original = model.clone()
    graph = model.graph
    analysis = analyse(graph, [(graph.inputs[1], graph.outputs[1])])
    assert Surgery(graph, analysis).operate()
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert [tuple(v.shape or ())[1] for v in (graph.inputs[1], graph.outputs[1])] == [4, 4]
    x = RANDOM.standard_normal((2, 8, 5)).astype(np.float32)
    cache = RANDOM.standard_normal((2, 6, 2)).astype(np.float32)
    stays = [1, 2, 3, 5]
    y, following = evaluate(original, {"x": x, "cache": cache})
    small_y, small_following = evaluate(model, {"x": x, "cache": cache[:, stays]})
    assert np.abs(y - small_y).max() <= 1e-5
    assert np.abs(following[:, stays] - small_following).max() <= 1e-5
