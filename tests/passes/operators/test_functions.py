"""Function bodies: old runtimes fuse inside them and name the result after the nodes."""

from __future__ import annotations

import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.functions import function_of

BODY = """
<domain: "confpress.v1", opset_import: ["": 21]>
Twice (x) => (y) { a = Abs (x)  b = Abs (a)  y = Add (a, b) }"""


def test_every_node_of_a_body_has_a_name_of_its_own() -> None:
    names = [node.name for node in function_of(BODY, "Twice", 21)]
    assert len(set(names)) == 3
    assert all(names)


def test_old_opsets_are_refused() -> None:
    with pytest.raises(ConfpressError, match="opset 15"):
        function_of(BODY, "Twice", 13)
