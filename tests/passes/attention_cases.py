"""Nodes of attention for tests: their model, their arrays and their definition in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from confpress.passes.operators.attention import (
    BIASED,
    PLAIN,
    RELATIVE,
    ROUNDED,
    attention_function,
    attention_node,
)
from confpress.passes.operators.functions import define

Floats = npt.NDArray[np.float32]
MaskKind = Literal["none", "keys", "full", "band"]
BiasKind = Literal["none", "heads", "full", "keys"]


@dataclass(frozen=True)
class AttentionCase:
    """One problem; `packed` reads queries, keys and values from one value.

    Without `tables` of positions it is one of DotProductAttention, or, with a bias that all heads
    or all of a batch may share, of BiasedAttention; a `shared` table serves all heads.
    """

    batch: int
    queries: int
    keys: int
    heads: int
    size: int
    mask: MaskKind = "none"
    packed: bool = False
    uniform: bool = False
    tables: int = 1
    shared: bool = False
    bias: BiasKind = "none"
    bfloat16: bool = False

    @property
    def columns(self) -> tuple[int, ...]:
        width = self.heads * self.size
        columns = (0, width, 2 * width) if self.packed else (1, 0, 2)
        return (*columns, 0 if self.shared else 3) if self.tables else columns

    @property
    def operator(self) -> str:
        exact = RELATIVE if self.tables else PLAIN if self.bias == "none" else BIASED
        return ROUNDED[exact] if self.bfloat16 else exact

    @property
    def scale(self) -> float:
        return float(self.size**-0.5)

    def model(self, opset: int = 17) -> onnx.ModelProto:
        """Inputs q (k, v) (p u w) (bias) mask, output y."""
        floats = {"q": ["b", "t", "f"], "k": ["b", "s", "f"], "v": ["b", "s", "f"]}
        if self.tables:
            floats |= {"p": ["c", "r", "g"], "u": ["h", "d"], "w": ["h", "d"]}
        if self.bias != "none":
            floats["bias"] = ["i", "j", "m", "n"]
        values = {name: ir.val(name, ir.DataType.FLOAT, axes) for name, axes in floats.items()}
        values["mask"] = ir.val("mask", ir.DataType.BOOL, ["x", 1, "y", "z"])
        if self.packed:
            values["k"] = values["v"] = values["q"]
        node = attention_node(
            list(values.values()),
            shape=(self.heads, self.size),
            columns=self.columns,
            scale=self.scale,
            uniform=self.uniform,
            name="attention",
        )
        node.op_type = self.operator
        node.outputs[0].name = "y"
        graph = ir.Graph(
            list(dict.fromkeys(values.values())),
            node.outputs,
            nodes=[node],
            opset_imports={"": opset},
            name="attention",
        )
        model = ir.Model(graph, ir_version=8)
        define(model, attention_function(self.operator, opset))
        return ir.to_proto(model)

    def feeds(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs; a mask has a query without keys, a bias of keys rules the last one out."""
        generator = np.random.default_rng(seed)
        width = self.heads * self.size
        features = 3 * width + 4
        arrays: dict[str, np.ndarray] = {
            "q": generator.standard_normal((self.batch, self.queries, features), np.float32),
        }
        if self.tables:
            shape = (self.tables, self.queries + self.keys - 1, width + 5)
            shape = (*shape[:2], self.size) if self.shared else shape
            arrays |= {
                "p": generator.standard_normal(shape, np.float32),
                "u": generator.standard_normal((self.heads, self.size), np.float32),
                "w": generator.standard_normal((self.heads, self.size), np.float32),
            }
        if not self.packed:
            for name in ("k", "v"):
                shape = (self.batch, self.keys, features)
                arrays[name] = generator.standard_normal(shape, np.float32)
        if self.bias != "none":
            items = 1 if self.bias == "heads" else self.batch
            pairs = (1, 1) if self.bias == "keys" else (self.heads, self.queries)
            arrays["bias"] = generator.standard_normal((items, *pairs, self.keys), np.float32)
            if self.bias == "keys" and self.keys > 1:
                arrays["bias"][..., -1] = -np.inf
        rows = self.queries if self.mask in ("full", "band") else 1
        if self.mask == "none":
            arrays["mask"] = np.zeros((1, 1, 1, 1), bool)
        else:
            arrays["mask"] = generator.random((self.batch, 1, rows, self.keys)) < 0.4
            if self.mask == "band":  # the last 20 of the keys up to a query's own
                ago = self.keys - self.queries + np.arange(rows)[:, None] - np.arange(self.keys)
                arrays["mask"] |= (ago < 0) | (ago >= 20)
            arrays["mask"][-1, 0, 0] = True
        return arrays

    def expected(self, feeds: dict[str, np.ndarray]) -> npt.NDArray[np.float64]:
        """The definition, score by score, in float64."""
        x = {name: a.astype(np.float64) for name, a in feeds.items() if name != "mask"}
        q, k, v = x["q"], x.get("k", x["q"]), x.get("v", x["q"])
        mask = np.broadcast_to(feeds["mask"], (self.batch, 1, self.queries, self.keys))
        y = np.zeros((self.batch, self.queries, self.heads * self.size))
        for b in range(self.batch):
            for h in range(self.heads):
                place = h * self.size
                parts = [
                    a[b, :, c + place : c + place + self.size]
                    for a, c in zip((q, k, v), self.columns, strict=False)
                ]
                scores = parts[0] @ parts[1].T
                if self.tables:
                    column = self.columns[3] + (0 if self.shared else place)
                    p = x["p"][b % self.tables, :, column : column + self.size]
                    scores = self._scores(*parts[:2], p, x["u"][h], x["w"][h])
                scores = scores * self.scale
                if self.bias != "none":
                    shape = (self.batch, self.heads, self.queries, self.keys)
                    scores = scores + np.broadcast_to(x["bias"], shape)[b, h]
                weights = self._weights(scores, mask[b, 0])
                y[b, :, place : place + self.size] = weights @ parts[2]
        return y

    def _scores(
        self, q: np.ndarray, k: np.ndarray, p: np.ndarray, u: np.ndarray, w: np.ndarray
    ) -> np.ndarray:
        distance = self.queries - 1 - np.arange(self.queries)[:, None] + np.arange(self.keys)
        return np.asarray((q + u) @ k.T + np.einsum("id,ijd->ij", q + w, p[distance]))

    def _weights(self, scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        scores = np.where(mask, -np.inf, scores)
        scores[mask.all(axis=1)] = 0
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        if not self.uniform:
            weights[mask.all(axis=1)] = 0
        return weights
