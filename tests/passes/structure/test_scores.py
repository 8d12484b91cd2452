"""What is found around scores, and that the search for it ends."""

from __future__ import annotations

from confpress.passes.structure.scores import averaging_product

from .graphs import make


def test_a_softmax_that_nothing_is_averaged_with_is_followed_once() -> None:
    """Every residual sum doubles the ways on from it."""
    sums = "".join(f"r{i} = Relu (h{i}) h{i + 1} = Add (h{i}, r{i})\n" for i in range(64))
    model = make(f"h0 = Softmax (x)\n{sums} y = Identity (h64)", infer=False)
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    assert averaging_product(softmax) is None
