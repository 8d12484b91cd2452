"""Replaced values leave the outputs of a model and of its bodies what they were."""

from __future__ import annotations

import numpy as np
from confpress.passes.rewrite import Patch, replace_value

from .graphs import evaluate, parse

HEADER = '<ir_version: 10, opset_import: ["": 21]>\n'
X = np.array([-1.0, 2.0], np.float32)


def test_one_value_may_replace_two_outputs() -> None:
    model = parse(
        f"{HEADER} g (float[2] x) => (float[2] y, float[2] z) {{ y = Relu (x) z = Relu (x) }}"
    )
    first, second = model.graph
    new = Patch(first).op("Relu", first.inputs[0])
    for node in (first, second):
        replace_value(node.outputs[0], new)
    assert [output.name for output in model.graph.outputs] == ["y", "z"]
    for output in evaluate(model, {"x": X}):
        np.testing.assert_array_equal(output, [0, 2])


def test_a_value_from_outside_may_replace_the_output_of_a_body() -> None:
    model = parse(
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) {{
          y = If (c) <then_branch = yes () => (float[2] a) {{ a = Relu (x) }},
                      else_branch = no () => (float[2] b) {{ b = Neg (x) }}> }}"""
    )
    (choice,) = model.graph
    (inner,) = choice.attributes["then_branch"].as_graph()
    replace_value(inner.outputs[0], Patch(choice).op("Relu", inner.inputs[0]))
    (y,) = evaluate(model, {"x": X, "c": np.array(True)})
    np.testing.assert_array_equal(y, [0, 2])
