"""Zipformer's activations in one operator, however exporters spell them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.fuse.swoosh import FuseSwoosh
from confpress.passes.rewrites.identities import RemoveIdentities

from ..graphs import difference, operators, parse

#: With a guard against what overflows, and with the logarithm of a sum of two exponentials.
GUARDED = """z = Sub (x, four)  e = Exp (z)  m = Add (e, one)  l = Log (m)
  over = Equal (l, infinite)  s = Where (over, z, l)"""
STABLE = """z = Sub (x, four)  above = Max (zero, z)  n = Sub (zero, z)  a = Abs (n)  b = Neg (a)
  e = Exp (b)  m = Add (one, e)  l = Log (m)  s = Add (above, l)"""
LINE = "d = Mul (x, slope)  r = Sub (s, d)  t = Sub (r, offset)"


def model(softplus: str, line: str = LINE) -> ir.Model:
    return parse(
        f"""
<ir_version: 10, opset_import: ["": 21]>
net (float[b, 7] x, float infinite) => (float[b, 7] y)
<float four = {{4.0}}, float one = {{1.0}}, float zero = {{0.0}}, float slope = {{0.08}},
 float offset = {{0.035}}> {{
  {softplus}
  {line}
  y = Softmax (t)
}}""",
        infinite=np.array(np.inf, np.float32),
    )


@pytest.mark.parametrize("softplus", [GUARDED, STABLE], ids=["guarded", "stable"])
def test_one_operator(softplus: str) -> None:
    fused = model(softplus)
    assert len(FuseSwoosh()(fused).changes) == 1
    assert operators(fused) == ["Swoosh", "Softmax"]
    found = {name: each.value for name, each in fused.graph[0].attributes.items()}
    assert found == pytest.approx({"shift": 4.0, "slope": 0.08, "offset": 0.035}, rel=1e-5)
    x = np.random.default_rng(0).standard_normal((5, 7), np.float32) * 9
    assert difference(fused, model(softplus), {"x": x}) < 1e-5


def test_float16_stays_in_nodes() -> None:
    text = f"""
<ir_version: 10, opset_import: ["": 21]>
net (float16[b, 7] x, float16 four, float16 one, float16 slope, float16 offset, float16 infinite)
  => (float16[b, 7] y) {{
  {GUARDED}
  {LINE}
  y = Softmax (t)
}}"""
    numbers = {"four": 4.0, "one": 1.0, "slope": 0.08, "offset": 0.035, "infinite": np.inf}
    stays = parse(text, **{name: np.array(number, np.float16) for name, number in numbers.items()})
    assert not FuseSwoosh()(stays).modified


@pytest.mark.parametrize("end", ["y = Relu (u)", "y = Identity (u)"], ids=["read", "an output"])
def test_transposes_around_it_cancel(end: str) -> None:
    text = f"""
<ir_version: 10, opset_import: ["": 21]>
net (float[b, 2, 3, 7] w, float infinite) => (float[b, 2, 3, 7] y, float[b, 7, 2, 3] v)
<float four = {{4.0}}, float one = {{1.0}}, float slope = {{0.08}}, float offset = {{0.035}}> {{
  x = Transpose <perm = [0, 3, 1, 2]> (w)
  {GUARDED}
  {LINE}
  u = Transpose <perm = [0, 2, 3, 1]> (t)
  {end}
  v = Relu (t)
}}"""
    fused, original = (parse(text, infinite=np.array(np.inf, np.float32)) for _ in range(2))
    RemoveIdentities()(fused)
    FuseSwoosh()(fused)
    assert operators(fused)[:2] == ["Swoosh", "Transpose"]
    assert operators(fused).count("Transpose") == 1
    x = np.random.default_rng(0).standard_normal((4, 2, 3, 7), np.float32)
    assert difference(fused, original, {"w": x}) < 1e-5


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("t = Identity (s)", id="a softplus alone"),
        pytest.param("d = Abs (x)  r = Sub (s, d)  t = Sub (r, offset)", id="less no line"),
        pytest.param(LINE.replace("t =", "t0 =") + "  u = Softmax (s)  t = Add (t0, u)",
                     id="read inside"),
    ],
)  # fmt: skip
def test_others_stay(line: str) -> None:
    other = model(GUARDED, line)
    assert not FuseSwoosh()(other).modified
    assert "Log" in operators(other)
