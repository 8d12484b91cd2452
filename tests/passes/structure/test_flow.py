"""Dominance: which values the data of an input cannot avoid."""

from __future__ import annotations

import onnx_ir as ir
from confpress.passes.structure.flow import Flow

from .graphs import D, make

WEIGHTS = {"w": (D, D), "zero": 0.0}


def flow_of(body: str, inputs: str = f"float[B,T,{D}] x") -> tuple[Flow, dict[str, ir.Value]]:
    model = make(body, WEIGHTS, inputs=inputs, infer=False)
    values = {v.name or "": v for v in model.graph.inputs}
    values |= {v.name or "": v for n in model.graph for v in n.outputs}
    return Flow(model.graph, model.graph.inputs[0]), values


def test_a_branch_is_dominated_by_the_stream_and_not_by_its_parts() -> None:
    flow, v = flow_of("a = Relu (x)  b = Neg (a)  c = Abs (a)  d = Mul (b, c)  y = Add (a, d)")
    assert flow.dominates(v["a"], v["d"])
    assert flow.dominates(v["a"], v["y"])
    assert flow.dominates(v["y"], v["y"])
    assert not flow.dominates(v["b"], v["d"])
    assert not flow.dominates(v["d"], v["a"])


def test_a_second_way_ends_dominance() -> None:
    flow, v = flow_of("a = Relu (x)  b = MatMul (a, w)  c = Mul (b, x)  y = Add (a, c)")
    assert not flow.dominates(v["a"], v["c"])
    assert flow.dominates(v["x"], v["c"])


def test_other_inputs_do_not_end_it() -> None:
    flow, v = flow_of(
        "a = Relu (x)  b = Mul (a, table)  y = Add (a, b)",
        inputs=f"float[B,T,{D}] x, float[B,T,{D}] table",
    )
    assert flow.dominates(v["a"], v["b"])
    assert v["table"] not in flow


def test_sizes_and_masks_carry_no_data() -> None:
    body = (
        "a = Relu (x)  size = Shape (x)  b = Reshape (a, size)  mask = Equal (x, zero)"
        "  c = Where (mask, zero, b)  y = Add (a, c)"
    )
    flow, v = flow_of(body)
    assert v["size"] not in flow
    assert v["mask"] not in flow
    assert flow.dominates(v["a"], v["c"])


def test_between_and_after_are_in_graph_order() -> None:
    flow, v = flow_of("a = Relu (x)  b = Neg (a)  c = Abs (a)  d = Mul (b, c)  y = Add (a, d)")
    assert [n.op_type for n in flow.between(v["a"], v["d"])] == ["Neg", "Abs", "Mul"]
    assert [n.op_type for n in flow.after(v["b"])] == ["Mul", "Add"]
    assert flow.between(v["a"], v["a"]) == []


def test_values_that_only_a_body_uses_count() -> None:
    model = make(
        """
        a = Relu (x)
        y = If (condition) <
          then_branch = g () => (float[B,T,8] t) { t = Neg (a) },
          else_branch = h () => (float[B,T,8] e) { e = Abs (a) }
        >
        """,
        inputs=f"float[B,T,{D}] x, bool condition",
        infer=False,
    )
    flow = Flow(model.graph, model.graph.inputs[0])
    relu, branch = model.graph
    assert flow.dominates(relu.outputs[0], branch.outputs[0])
