"""The mask behind a Softmax moves to the rows of its product with the values."""

from __future__ import annotations

import numpy as np
import pytest
from confpress.passes.rewrites.masks.softmax_mask import SoftmaxMask

from tests.passes.graphs import difference, operators, parse

ATTENTION = """
<ir_version: 10, opset_import: ["": 21]>
net (bool[b, 1, t, t] m, float[b, 2, t, t] s, float[b, 2, t, 4] v) => (float[b, 2, t, 4] y)
{{
  fill = Constant <value = float {{{fill}}}> ()
  zero = Constant <value = float {{0.0}}> ()
  masked = Where (m, fill, s)
  p = Softmax <axis = -1> (masked)
  q = Where (m, zero, p)
  c = MatMul (q, v)
  y = Identity (c)
}}"""


def feeds(valid: tuple[int, ...], frames: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    keep = np.arange(frames)[None] < np.array(valid)[:, None]
    mask = ~(keep[:, None, :, None] & keep[:, None, None, :])
    shape = (len(valid), 2, frames)
    return {
        "m": mask,
        "s": 30 * random.standard_normal((*shape, frames)).astype(np.float32),
        "v": random.standard_normal((*shape, 4)).astype(np.float32),
    }


@pytest.mark.parametrize("valid", [(9,), (9, 4, 1)])
def test_outputs_are_equal_with_and_without_padding(valid: tuple[int, ...]) -> None:
    text = ATTENTION.format(fill=-10000.0)
    model, original = parse(text), parse(text)
    assert SoftmaxMask()(model).modified
    names = operators(model)
    assert names.index("MatMul") < len(names) - 1 - names[::-1].index("Where")
    assert names.index("Add") < names.index("Softmax")
    assert difference(model, original, feeds(valid, 9)) == 0


def test_float16_stays_float16() -> None:
    bits = int(np.array(-10000, np.float16).view(np.uint16))
    text = ATTENTION.replace("{{0.0}}", "{{0}}").replace("float", "float16").format(fill=bits)
    model, original = parse(text), parse(text)
    assert SoftmaxMask()(model).modified
    given = feeds((9, 4), 9)
    given |= {name: given[name].astype(np.float16) for name in "sv"}
    assert difference(model, original, given) == 0


def test_a_mild_fill_leaves_probabilities_and_is_left_alone() -> None:
    model = parse(ATTENTION.format(fill=-5.0))
    assert not SoftmaxMask()(model).modified


def test_layers_share_what_they_add() -> None:
    text = ATTENTION.format(fill=-10000.0).replace(
        "y = Identity (c)",
        """other = Where (m, fill, c2)
  r = Softmax <axis = -1> (other)
  t = Where (m, zero, r)
  d = MatMul (t, v)
  y = Add (c, d)""",
    )
    model = parse(text.replace("q = Where", "c2 = Identity (s)\n  q = Where"))
    original = model.clone()
    assert len(SoftmaxMask()(model).changes) == 2
    # The summand, and the rows of either product.
    assert operators(model).count("Where") == 3
    assert difference(model, original, feeds((9, 4), 9)) == 0


def test_probabilities_that_are_an_output_too_are_left_alone() -> None:
    """In rows of padding, each is the same before the second mask."""
    text = ATTENTION.format(fill=-10000.0)
    model = parse(text.replace("4] y)", "4] y, float[b, 2, t, t] p)"))
    assert not SoftmaxMask()(model).modified
