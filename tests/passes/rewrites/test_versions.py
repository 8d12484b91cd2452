"""Versions: raised for what passes write, lowered to what the operators need."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.functions import define_operator
from confpress.passes.operators.quantlinear import quant_linear_function
from confpress.passes.rewrites.versions import WORKING_OPSET, MinimiseVersions, raise_opset

from tests.passes.graphs import evaluate, parse

SPLIT = """
<ir_version: 8, opset_import: ["": {opset}]>
net (float[b, 4] x) => (float[b, 2] y)
{{ p, q = Split <axis = 1> (x)  m = ReduceMax <axes = [1]> (x)  r = Mul (p, q)  y = Add (r, m) }}"""


@pytest.mark.parametrize("opset", [13, 17])
def test_old_spellings_are_converted(opset: int) -> None:
    model, original = parse(SPLIT.format(opset=opset)), parse(SPLIT.format(opset=opset))
    assert raise_opset(model)
    assert model.opset_imports[""] == WORKING_OPSET
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    feeds = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}
    assert np.array_equal(evaluate(model, feeds)[0], evaluate(original, feeds)[0])


def test_a_newer_model_stays() -> None:
    model = parse(
        '<ir_version: 11, opset_import: ["": 23]> n (float[b] x) => (float[b] y) { y = Abs (x) }'
    )
    assert not raise_opset(model)
    assert model.opset_imports[""] == 23


def test_versions_sink_to_what_the_operators_need() -> None:
    model = parse(
        '<ir_version: 11, opset_import: ["": 23, "unused": 1]>'
        " n (float[b] x) => (float[b] y) { z = Abs (x)  y = Add (z, x) }"
    )
    MinimiseVersions()(model)
    assert model.opset_imports == {"": 14}
    assert model.ir_version == 7
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize(
    ("nodes", "opset"),
    [
        ("z = Transpose (x)  y = Pad (z, p)", 18),
        ("z = Cast <to = 10> (x)  y = Cast <to = 1> (z)", 13),
        ("z = Cast <to = 17> (x)  y = Cast <to = 1> (z)", 21),
        ('z = Transpose (x)  y = Pad <mode = "wrap"> (z, p)', 21),
    ],
)
def test_versions_sink_below_types_that_are_not_there(nodes: str, opset: int) -> None:
    model = parse(
        '<ir_version: 10, opset_import: ["": 21]> n (float[a, b] x) => (float[c, d] y)'
        f" <int64[4] p = {{0, 1, 0, 1}}> {{ {nodes} }}"
    )
    common.ShapeInferencePass()(model)
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    before = evaluate(model, feeds)[0]
    MinimiseVersions()(model)
    assert model.opset_imports[""] == 21
    MinimiseVersions(widened=True)(model)
    assert model.opset_imports[""] == opset
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert np.array_equal(evaluate(model, feeds)[0], before)


def test_functions_and_their_overloads_keep_the_ir_version_they_need() -> None:
    model = parse(
        '<ir_version: 11, opset_import: ["": 17]> n (float[b] x) => (float[b] y) { y = Abs (x) }'
    )
    define_operator(model, quant_linear_function, "silu")
    MinimiseVersions()(model)
    assert model.ir_version == 8
    ((_, function),) = model.functions.items()
    function.overload = "another"
    model.functions.clear()
    model.functions[function.identifier()] = function
    MinimiseVersions()(model)
    assert model.ir_version == 10


def test_an_operator_that_cannot_be_converted_is_reported() -> None:
    model = parse(
        '<ir_version: 8, opset_import: ["": 17]>'
        " n (float[b] x) => (float[b] y) { y = NotAnOperator (x) }"
    )
    with pytest.raises(ConfpressError, match="opset 17"):
        raise_opset(model)
