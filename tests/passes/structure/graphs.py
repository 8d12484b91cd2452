"""Hand-made Conformer parts in ONNX's text format; sizes are small and weights random."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from confpress.passes.structure import Module, Structure, recognise
from onnx_ir.passes.common import ShapeInferencePass

#: Width of the stream, hidden units, heads, head size.
D, UNITS, HEADS, SIZE = 8, 24, 2, 4

Weight = tuple[int, ...] | float | list[int] | np.ndarray

_TYPES = {"float32": "float", "int64": "int64", "int8": "int8"}


def make(
    body: str,
    weights: Mapping[str, Weight] | None = None,
    *,
    inputs: str = f"float[B,T,{D}] x",
    outputs: str = f"float[B,T,{D}] y",
    opset: int = 18,
    infer: bool = True,
) -> ir.Model:
    """A model with the given nodes.

    Args:
        body: The nodes in ONNX's text format.
        weights: Initializers: a shape gives random numbers, a float a scalar, a list int64s.
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        opset: Of the standard domain.
        infer: Whether shapes are inferred.
    """
    random = np.random.default_rng(0)
    arrays = {name: _array(weight, random) for name, weight in (weights or {}).items()}
    declared = ", ".join(
        f"{_TYPES[str(a.dtype)]}[{', '.join(map(str, a.shape))}] {name}"
        for name, a in arrays.items()
    )
    listed = ", ".join(part for part in (inputs, declared) if part)
    model = ir.from_onnx_text(
        f'<ir_version: 9, opset_import: ["": {opset}, "com.microsoft": 1]>\n'
        f"graph ({listed}) => ({outputs}) {{\n{body}\n}}"
    )
    for value in list(model.graph.inputs):
        if value.name in arrays:
            model.graph.inputs.remove(value)
            value.const_value = ir.tensor(arrays[value.name], name=value.name)
            model.graph.register_initializer(value)
    if infer:
        ShapeInferencePass()(model)
    return model


def _array(weight: Weight, random: np.random.Generator) -> np.ndarray:
    if isinstance(weight, np.ndarray):
        return weight
    if isinstance(weight, float):
        return np.array(weight, np.float32)
    if isinstance(weight, list):
        return np.array(weight, np.int64)
    return random.standard_normal(weight).astype(np.float32)


def only_module(structure: Structure) -> Module:
    """The one module with a residual branch."""
    modules = [m for m in structure.modules if m.residual_add is not None]
    assert len(modules) == 1, [m.id for m in structure.modules]
    return modules[0]


def recognise_one(model: ir.Model) -> Module:
    """The one module with a residual branch of a model."""
    return only_module(recognise(model))


def reasons(model: ir.Model) -> str:
    """Why nothing was recognised: all near misses in one text."""
    return "\n".join(miss.reason for miss in recognise(model).near_misses)


#: A norm on the stream.
NORM = "  y = LayerNormalization <axis = -1> (x, g, s)\n"

#: A feed-forward half step from ``x`` to ``y``.
FEED_FORWARD = """
  n = LayerNormalization <axis = -1> (x, g, s)
  p1 = MatMul (n, w1)
  h = Add (b1, p1)
  gate = Sigmoid (h)
  a = Mul (h, gate)
  p2 = MatMul (a, w2)
  o = Add (p2, b2)
  branch = Mul (o, half)
  y = Add (x, branch)
"""
FEED_FORWARD_WEIGHTS: dict[str, Weight] = {
    "g": (D,), "s": (D,), "w1": (D, UNITS), "b1": (UNITS,), "w2": (UNITS, D), "b2": (D,),
    "half": 0.5,
}  # fmt: skip

#: Self-attention with Transformer-XL's relative positions from ``x`` to ``y``; the table ``pos``
#: is a graph input. ``{...}`` are places that tests fill with other spellings.
ATTENTION = """
  n = LayerNormalization <axis = -1> (x, g, s)
  q0 = MatMul (n, wq)
  q1 = Add (q0, bq)
  q2 = Reshape (q1, split)
  qu0 = Add (q2, u)
  qu = Transpose <perm = [0, 2, 1, 3]> (qu0)
  qv0 = Add (q2, v)
  qv = Transpose <perm = [0, 2, 1, 3]> (qv0)
  k0 = MatMul (n, wk)
  k1 = Reshape (k0, split)
  k = Transpose <perm = [0, 2, 3, 1]> (k1)
  v0 = MatMul (n, wv)
  v1 = Reshape (v0, split)
  vt = Transpose <perm = [0, 2, 1, 3]> (v1)
  p0 = MatMul (pos, wp)
  p1 = Reshape (p0, split)
  p = Transpose <perm = [0, 2, 3, 1]> (p1)
  ac = MatMul (qu, k)
  bd0 = MatMul (qv, p)
  padded = Pad (bd0, pads)
  shape = Shape (bd0)
  bd1 = Reshape (padded, turned)
  bd2 = Slice (bd1, one, last, axis2)
  bd3 = Reshape (bd2, shape)
  sizes = Shape (ac)
  keys = Slice (sizes, three, four)
  bd = Slice (bd3, zero, keys, three)
  sum = Add (ac, bd)
  scaled = Div (sum, root)
  masked = Where (mask, low, scaled)
  weights = Softmax <axis = -1> (masked)
  c0 = MatMul (weights, vt)
  c1 = Transpose <perm = [0, 2, 1, 3]> (c0)
  c = Reshape (c1, join)
  o0 = MatMul (c, wo)
  o = Add (o0, bo)
  y = Add (x, o)
"""
ATTENTION_WEIGHTS: dict[str, Weight] = {
    "g": (D,), "s": (D,), "wq": (D, D), "bq": (D,), "wk": (D, D), "wv": (D, D), "wp": (D, D),
    "u": (HEADS, SIZE), "v": (HEADS, SIZE), "wo": (D, D), "bo": (D,), "root": 2.0, "low": -1e4,
    "split": [0, 0, HEADS, SIZE], "join": [0, 0, D], "turned": [0, HEADS, -1, 0],
    "pads": [0, 0, 0, 1, 0, 0, 0, 0], "zero": [0], "one": [1], "last": [2**31], "axis2": [2],
    "three": [3], "four": [4],
}  # fmt: skip
ATTENTION_INPUTS = f"float[B,T,{D}] x, float[1,P,{D}] pos, bool[B,1,1,T] mask"

#: A convolution module from ``x`` to ``y``.
CONVOLUTION = """
  n = LayerNormalization <axis = -1> (x, g, s)
  t = Transpose <perm = [0, 2, 1]> (n)
  c1 = Conv <kernel_shape = [1]> (t, wp1, bp1)
  left, right = Split <axis = 1, num_outputs = 2> (c1)
  gate = Sigmoid (right)
  glu = Mul (left, gate)
  dw = Conv <kernel_shape = [3], pads = [1, 1], group = 8> (glu, wd, bdw)
  bend = Sigmoid (dw)
  a = Mul (dw, bend)
  c2 = Conv <kernel_shape = [1]> (a, wp2, bp2)
  branch = Transpose <perm = [0, 2, 1]> (c2)
  y = Add (x, branch)
"""
CONVOLUTION_WEIGHTS: dict[str, Weight] = {
    "g": (D,), "s": (D,), "wp1": (2 * D, D, 1), "bp1": (2 * D,), "wd": (D, 1, 3), "bdw": (D,),
    "wp2": (D, D, 1), "bp2": (D,),
}  # fmt: skip


def chain(*bodies: str) -> str:
    """Modules one after the other: each reads what the one before put out; weights are shared."""
    parts = []
    for index, body in enumerate(bodies):
        stream, output = f"x{index}" if index else "x", f"x{index + 1}"
        names = {"x": stream, "y": output if index + 1 < len(bodies) else "y"}
        for assigned in re.findall(r"([\w, ]+?) = \w+ ?[<(]", body):
            for name in assigned.replace(" ", "").split(","):
                names.setdefault(name, f"{name}_{index}")
        parts.append(re.sub(r"\b\w+\b", lambda m, names=names: names.get(m[0], m[0]), body))
    return "".join(parts)


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The text with lines exchanged; every old part must occur."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text
