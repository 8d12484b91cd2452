"""What running passes guarantees."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
from confpress.passes.base import InPlacePass, Journal, PassResult, run
from confpress.passes.rewrite import Patch, replace_value

from .graphs import parse


@dataclasses.dataclass(frozen=True)
class _TwoPatches(InPlacePass):
    """Writes nodes of one operator in two patches at one place."""

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        node = model.graph.node("y")
        for _ in range(2):
            replace_value(node.outputs[0], Patch(node).op("Neg", node.inputs[0]))
        journal.change("y", "two nodes")
        return journal.result(model)


def test_nodes_have_names_of_their_own() -> None:
    model = parse('<ir_version: 10, opset_import: ["": 18]> g (float[2] x) => (float[2] y) '
                  "{ [y] y = Relu (x) }")  # fmt: skip
    run([_TwoPatches()], model)
    names = [node.name for node in model.graph]
    assert len(names) == 3
    assert len(set(names)) == 3
