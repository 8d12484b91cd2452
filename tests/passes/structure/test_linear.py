"""Linear layers and convolutions in every spelling."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.structure.linear import Products, find_products

from .graphs import D, make

OUT = 6
WEIGHTS = {
    "w": (D, OUT), "wt": (OUT, D), "b": (OUT,), "wc": (OUT, D, 1), "b3": (1, 1, OUT),
    "column": (OUT, 1), "wide": (D,), "single": 0.1, "codes": np.ones((D, OUT), np.int8),
    "scales": (OUT,), "zeros": np.zeros(OUT, np.int8), "batch": (2, D, OUT), "dw": (D, 1, 3),
}  # fmt: skip
OUTPUTS = f"float[B,T,{OUT}] y"


def products(body: str, **options: object) -> Products:
    return find_products(make(body, WEIGHTS, outputs=OUTPUTS, **options).graph)


@pytest.mark.parametrize(
    ("body", "weight", "bias", "out_axis"),
    [
        ("y = MatMul (x, w)", "w", None, 1),
        ("m = MatMul (x, w)  y = Add (m, b)", "w", "b", 1),
        ("m = MatMul (x, w)  y = Add (b, m)", "w", "b", 1),
        ("m = MatMul (x, w)  y = Add (b3, m)", "w", "b3", 1),
        ("t = Transpose <perm = [1, 0]> (wt)  m = MatMul (x, t)  y = Add (m, b)", "wt", "b", 1),
        ("d = DequantizeLinear <axis = 1> (codes, scales, zeros)  y = MatMul (x, d)",
         "codes", None, 1),
        ("t = Transpose <perm = [0, 2, 1]> (x)  m = Conv (t, wc, b)"
         "  y = Transpose <perm = [0, 2, 1]> (m)", "wc", "b", 0),
        ("t = Transpose <perm = [0, 2, 1]> (x)  l = MatMul (wt, t)  m = Add (l, column)"
         "  y = Transpose <perm = [0, 2, 1]> (m)", "wt", "column", 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("infer", [True, False])
def test_spellings(body: str, weight: str, bias: str | None, out_axis: int, *, infer: bool) -> None:
    found = products(body, infer=infer)
    (layer,) = found.linears.values()
    assert not found.convolutions
    assert layer.weight.name == weight
    assert (layer.bias and layer.bias.name) == bias
    assert (layer.in_features, layer.out_features) == (D, OUT)
    assert layer.out_axis == out_axis
    assert layer.channels_first == (out_axis == 0)
    assert layer.output.name in ("y", "m")


@pytest.mark.parametrize(("rows", "layers"), [(D + 1, 1), (D, 0)])
def test_a_stored_table_has_a_layer_where_its_projection_would_be_larger(
    rows: int, layers: int
) -> None:
    weights = {**WEIGHTS, "square": (D, D), "table": (1, rows, D)}
    body = "q = MatMul (table, square)  y = Add (x, q)"
    model = make(body, weights, outputs=f"float[B,T,{D}] y")
    assert len(find_products(model.graph).linears) == layers


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    weight = "wt" if transposed else "w"
    model = make(
        f"y = Gemm <transB = {transposed}> (x, {weight}, b)",
        WEIGHTS,
        inputs=f"float[N,{D}] x",
        outputs=f"float[N,{OUT}] y",
    )
    (layer,) = find_products(model.graph).linears.values()
    assert (layer.in_features, layer.out_features) == (D, OUT)
    assert layer.bias is not None


def test_the_layers_nodes_are_those_that_go_with_it() -> None:
    found = products(
        "t = Transpose <perm = [1, 0]> (wt)  m = MatMul (x, t)  h = Add (m, b)  y = Relu (h)"
    )
    (layer,) = found.linears.values()
    assert [n.op_type for n in layer.nodes] == ["Transpose", "MatMul", "Add"]
    assert layer.activation is not None
    assert layer.activation.name == "relu"


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("a number for all", "m = MatMul (x, w)  y = Add (m, single)"),
        ("a computed value", "m = MatMul (x, w)  n = MatMul (x, w)  y = Add (m, n)"),
        ("used twice", "m = MatMul (x, w)  z = Add (m, b)  y = Mul (m, z)"),
    ],
)
def test_what_is_no_bias(what: str, body: str) -> None:
    layers = products(body).linears.values()
    assert all(layer.bias is None for layer in layers), what


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = MatMul (x, batch)", "its constant operand has 3 axes, a weight has 2"),
        ("t = Transpose <perm = [0, 2, 1]> (x)  f = Mul (t, t)  y = Conv (t, f)",
         "its filters are computed, not constant"),
    ],
)  # fmt: skip
def test_refusals_say_why(body: str, reason: str) -> None:
    (found,) = products(body, infer=False).refused.values()
    assert found == reason


def test_a_gemm_with_alpha_is_refused() -> None:
    model = make(
        "y = Gemm <alpha = 0.5> (x, w, b)",
        WEIGHTS,
        inputs=f"float[N,{D}] x",
        outputs=f"float[N,{OUT}] y",
    )
    (reason,) = find_products(model.graph).refused.values()
    assert "alpha" in reason


def test_products_of_activations_and_constants_are_no_layers() -> None:
    body = "t = Transpose <perm = [0, 2, 1]> (x)  s = MatMul (x, t)  y = MatMul (s, x)"
    found = products(body, infer=False)
    assert found == Products({}, {}, {})


@pytest.mark.parametrize(
    ("attributes", "filters", "depthwise", "pointwise"),
    [
        ("group = 8, pads = [1, 1]", (D, 1, 3), True, False),
        ("pads = [1, 1]", (OUT, D, 3), False, False),
        ("strides = [2]", (OUT, D, 1), False, True),
        ("group = 2", (OUT, D // 2, 1), False, False),
    ],
)
def test_convolutions(
    attributes: str, filters: tuple[int, ...], *, depthwise: bool, pointwise: bool
) -> None:
    body = (
        f"t = Transpose <perm = [0, 2, 1]> (x)  c = Conv <{attributes}> (t, f)"
        "  y = Transpose <perm = [0, 2, 1]> (c)"
    )
    model = make(body, {"f": filters}, outputs="float[B,S,N] y")
    found = find_products(model.graph)
    assert not found.linears
    (convolution,) = found.convolutions.values()
    assert convolution.is_depthwise == depthwise
    assert convolution.is_pointwise == pointwise
    assert convolution.in_channels == D
    assert convolution.kernel == filters[2:]


def test_layers_of_lowered_models() -> None:
    weights = {"codes": np.ones((D, OUT), np.int8), "scales": (OUT,), "b": (OUT,)}
    model = make(
        "y = com.microsoft.DynamicQuantizeMatMul (x, codes, scales, , b)",
        weights,
        outputs=OUTPUTS,
        infer=False,
    )
    (layer,) = find_products(model.graph).linears.values()
    assert (layer.in_features, layer.out_features) == (D, OUT)
    assert layer.weight.dtype == ir.DataType.INT8
    assert layer.bias is not None
    assert layer.bias.name == "b"
