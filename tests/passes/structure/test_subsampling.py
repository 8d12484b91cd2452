"""What stands before the first module."""

from __future__ import annotations

from confpress.passes.structure import Kind, Module, recognise

from .graphs import FEED_FORWARD, FEED_FORWARD_WEIGHTS, D, make

WEIGHTS = FEED_FORWARD_WEIGHTS | {
    "k1": (4, 1, 3, 3), "k2": (4, 4, 3, 3), "kd": (4, 1, 3, 3), "kp": (4, 4, 1, 1),
    "wide": (4, 1, 3, 3), "flat": [0, 0, -1], "wo": (16, D), "wb": (D,), "w0": (16, D),
    "one": [1], "ks": (D, 16, 5), "root": 2.8, "kc": (D, 2, 3), "square": (16, 16),
}  # fmt: skip
MODULE = FEED_FORWARD.replace("(x", "(s0")


def subsampling(front: str, inputs: str = "float[B,T,16] features") -> Module:
    model = make(front + MODULE, WEIGHTS, inputs=inputs, infer=True)
    structure = recognise(model)
    assert [m.kind for m in structure.modules] == [Kind.SUBSAMPLING, Kind.FEED_FORWARD]
    assert structure.near_misses == ()
    return structure.modules[0]


STRIDED = (
    "  i = Unsqueeze (features, one)"
    "  c1 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (i, k1)  r1 = Relu (c1)"
)
FLATTENED = "  t = Transpose <perm = [0, 2, 1, 3]> (r2)  f = Reshape (t, flat)"
PROJECTED = "  p = MatMul (f, wo)  b = Add (p, wb)  s0 = Mul (b, root)"


def test_two_strided_convolutions() -> None:
    module = subsampling(
        STRIDED
        + "  c2 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r1, k2)  r2 = Relu (c2)"
        + FLATTENED
        + PROJECTED
    )
    assert module.id == "encoder.pre_encode"
    assert module.subsampling.factor == 4
    assert module.subsampling.out is not None
    assert module.subsampling.out.id == "encoder.pre_encode.out"
    names = [c.id.rpartition(".")[2] for c in module.convolutions]
    assert names == ["conv1", "conv2"]
    assert module.input is not None
    assert module.input.name == "features"
    assert module.output.name == "s0"


def test_depthwise_separable() -> None:
    module = subsampling(
        STRIDED
        + "  d = Conv <strides = [2, 2], pads = [1, 1, 1, 1], group = 4> (r1, kd)"
        + "  c2 = Conv (d, kp)  r2 = Relu (c2)"
        + FLATTENED
        + PROJECTED
    )
    assert module.subsampling.factor == 4
    flags = [(c.is_depthwise, c.is_pointwise) for c in module.convolutions]
    assert flags == [(False, False), (True, False), (False, True)]


def test_an_integer_product_behind_the_convolutions_is_no_layer_of_ours() -> None:
    module = subsampling(
        STRIDED
        + "  c2 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r1, k2)  r2 = Relu (c2)"
        + FLATTENED
        + "  u8, u8s, u8z = DynamicQuantizeLinear (f)  i32 = MatMulInteger (u8, wo, u8z)"
        + "  p = Cast <to = 1> (i32)  s0 = Mul (p, root)"
    )
    assert module.linears == ()
    assert len(module.convolutions) == 2


def test_over_one_axis_between_layers() -> None:
    module = subsampling(
        "  l = MatMul (features, square)  t = Transpose <perm = [0, 2, 1]> (l)"
        "  c = Conv <strides = [2]> (t, ks)  f = Transpose <perm = [0, 2, 1]> (c)"
        "  s0 = Mul (f, root)"
    )
    assert module.subsampling.factor == 2
    assert [layer.id for layer in module.linears] == ["encoder.pre_encode.out"]


def test_unequal_strides_go_by_the_axis_of_varying_size() -> None:
    module = subsampling(
        STRIDED
        + "  r2 = Conv <strides = [1, 2], pads = [1, 1, 1, 1]> (r1, k2)"
        + FLATTENED
        + PROJECTED
    )
    assert module.subsampling.factor == 2


def test_a_projection_alone() -> None:
    module = subsampling("  s0 = MatMul (features, w0)")
    assert module.subsampling.factor == 1
    assert module.convolutions == ()


def test_a_residual_convolution_before_the_first_module_belongs_to_it() -> None:
    module = subsampling(
        "  l = MatMul (features, w0)  t = Transpose <perm = [0, 2, 1]> (l)"
        "  c = Conv <group = 4, pads = [1, 1]> (t, kc)  r = Relu (c)"
        "  e = Transpose <perm = [0, 2, 1]> (r)  s0 = Add (l, e)"
    )
    assert [c.id for c in module.convolutions] == ["encoder.pre_encode.conv1"]


def test_without_layers_there_is_none() -> None:
    front = "  s0 = Mul (features, root)"
    model = make(front + MODULE, WEIGHTS, inputs=f"float[B,T,{D}] features")
    assert [m.kind for m in recognise(model).modules] == [Kind.FEED_FORWARD]
