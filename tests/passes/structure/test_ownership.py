from __future__ import annotations

from confpress.passes.structure.ownership import spread_ownership

from .graphs import D, make

WEIGHTS = {"w": (D, D), "one": [1]}
BODY = """
  shared = Relu (table)
  only_a = Neg (table)
  a = Mul (x, only_a)
  sizes = Shape (x)
  b1 = Reshape (a, sizes)
  b = Add (b1, shared)
  c = Mul (b, shared)
  spare = Abs (b)
  mixed = Add (a, b)
  y = Relu (c)
"""


def owners(unowned: tuple[str, ...] = ()) -> dict[str, str]:
    model = make(
        BODY,
        WEIGHTS,
        inputs=f"float[B,T,{D}] x, float[B,T,{D}] table",
        outputs=f"float[B,T,{D}] y, float[B,T,{D}] spare, float[B,T,{D}] mixed",
    )
    nodes = {node.outputs[0].name or "": node for node in model.graph}
    cores = {nodes["a"]: "A", nodes["b1"]: "B", nodes["b"]: "B", nodes["c"]: "C"}
    found = spread_ownership(model.graph, cores, frozenset(nodes[name] for name in unowned))
    names = {node: name for name, node in nodes.items()}
    return {names[node]: owner for node, owner in found.items()}


def test_what_serves_one_module_belongs_to_it() -> None:
    found = owners()
    assert found["only_a"] == "A"
    assert found["sizes"] == "B"


def test_what_serves_several_belongs_to_none() -> None:
    found = owners()
    assert "shared" not in found
    assert "mixed" not in found


def test_what_leaves_one_module_for_an_output_belongs_to_it() -> None:
    found = owners()
    assert found["spare"] == "B"
    assert found["y"] == "C"


def test_nodes_between_modules_stay_unowned() -> None:
    found = owners(unowned=("only_a",))
    assert "only_a" not in found
