from __future__ import annotations

import onnx_ir as ir
import pytest
from confpress.passes.structure.scope import common_scope, scope_of


def node(name: str = "", scopes: str = "") -> ir.Node:
    props = {"pkg.torch.onnx.name_scopes": scopes} if scopes else {}
    return ir.Node("", "MatMul", [], name=name, metadata_props=props)


@pytest.mark.parametrize(
    ("name", "scopes", "scope"),
    [
        ("/encoder/layers.0/conv/Conv", "", "encoder.layers.0.conv"),
        ("node_linear_3", "['', 'm', 'm.layers.0', 'm.layers.0.ff.linear1', 'linear_3']",
         "m.layers.0.ff.linear1"),
        ("node_linear_3", "['linear']", ""),
        ("node_linear_3", "[broken", ""),
        ("MatMul_12", "", ""),
        ("/MatMul", "", ""),
        ("", "", ""),
    ],
)  # fmt: skip
def test_the_exporters_name(name: str, scopes: str, scope: str) -> None:
    assert scope_of(node(name, scopes)) == scope


def test_what_names_have_in_common() -> None:
    assert common_scope(["a.b.linear1", "a.b.linear2", ""]) == "a.b"
    assert common_scope(["a.bc", "a.bd"]) == "a"
    assert common_scope(["x", "y"]) == ""
    assert common_scope([]) == ""
