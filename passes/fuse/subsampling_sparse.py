"""Convolutions of a subsampling whose int8 weights have balanced zeros."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from ..operators.sparseconv2d import pieces
from ..operators.sparselinear import DENSE, WINDOW, Costs, Pattern, is_faster, pattern_of
from .region import NotFusedError
from .subsampling_steps import Step, is_conv2d, read_step


@dataclasses.dataclass(frozen=True)
class BalancedConvolution:
    """What decides whether SparseConv2d is faster than QuantConv2d.

    Attributes:
        shape: Of the weights, [N, C, kernel T, kernel F].
        strides: Over time and frequency.
        pattern: What the weights fit.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    pattern: Pattern

    @property
    def matrix(self) -> tuple[int, int]:
        """N and K, the products of an output."""
        n, channels, time, columns = self.shape
        return n, channels * time * columns

    @property
    def prefix(self) -> str:
        """What its forms begin with in a table of costs."""
        kernel = "x".join(map(str, self.shape[2:]))
        return f"Conv {kernel} by {'x'.join(map(str, self.strides))} "

    @property
    def forms(self) -> tuple[str, str]:
        """How a table of costs names it dense and sparse."""
        return f"{self.prefix}{DENSE}", f"{self.prefix}{self.pattern}"

    def is_faster(self, costs: Costs, reach: int) -> bool:
        """Whether it is, by measured times or else by its look-ups."""
        return is_faster(self.pattern, self.matrix, costs, reach, self.prefix)


def balanced(step: Step, reach: int) -> BalancedConvolution | None:
    """A step whose weights fit a pattern; None for every other."""
    if step.scales is None:
        return None
    pattern = pattern_of(pieces(step.weight), reach)
    return (
        None if pattern is None else BalancedConvolution(step.weight.shape, step.strides, pattern)
    )


def balanced_convolutions(model: ir.Model, reach: int = WINDOW) -> set[BalancedConvolution]:
    """The int8 convolutions of an interchange model that could become sparse."""
    found = set()
    for node in model.graph:
        if not is_conv2d(node):
            continue
        try:
            each = balanced(read_step(node), reach)
        except NotFusedError:
            continue
        if each is not None:
            found.add(each)
    return found
