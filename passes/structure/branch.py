"""One residual branch, as the recognisers of the module kinds see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property

import onnx_ir as ir

from .flow import Flow
from .graph import PRODUCT_OPS, constant, data_inputs, is_product_of_activations
from .linear import Products
from .modules import Convolution, Linear, Norm
from .residual import Join

#: Attention written as one node; inputs are queries, keys and values.
FUSED_ATTENTION_OPS = frozenset(("Attention", "MultiHeadAttention", "GroupQueryAttention"))


class NotRecognisedError(Exception):
    """A branch is not of the kind it looked like; the text is the reason, in a sentence."""


@dataclasses.dataclass(frozen=True)
class Branch:
    """A residual branch and what lies in it, everything in the order of data."""

    join: Join
    flow: Flow
    products: Products
    norms: tuple[Norm, ...]

    @cached_property
    def _nodes(self) -> frozenset[ir.Node]:
        return frozenset(self.join.nodes)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    @cached_property
    def linears(self) -> tuple[Linear, ...]:
        """The linear layers that the stream's data passes through."""
        found = self.products.linears
        return tuple(found[node] for node in self.join.nodes if node in found)

    @cached_property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The convolutions that the stream's data passes through."""
        found = self.products.convolutions
        return tuple(found[node] for node in self.join.nodes if node in found)

    @cached_property
    def inner_norms(self) -> tuple[Norm, ...]:
        """The norms that the stream's data passes through."""
        return tuple(n for n in self.norms if n.output.producer() in self._nodes)

    @cached_property
    def norm(self) -> Norm | None:
        """The norm that the branch begins with: every layer reads what it put out."""
        inputs = [layer.input for layer in self.linears]
        inputs += [v for c in self.convolutions if (v := c.node.inputs[0]) is not None]
        for norm in self.inner_norms:
            if all(self.flow.dominates(norm.output, value) for value in inputs):
                return norm
        return None

    @cached_property
    def norm_nodes(self) -> frozenset[ir.Node]:
        """The nodes of all norms in the branch."""
        return frozenset(node for norm in self.inner_norms for node in norm.nodes)

    def of_type(self, *op_types: str) -> tuple[ir.Node, ...]:
        """The nodes of the given operators."""
        return tuple(n for n in self.join.nodes if n.op_type in op_types)

    @cached_property
    def activation_products(self) -> tuple[ir.Node, ...]:
        """Products of two activations, the mark of attention."""
        return tuple(n for n in self.join.nodes if is_product_of_activations(n))

    @cached_property
    def contents(self) -> str:
        """What is in the branch, for the reader of a refusal."""
        parts = [
            counted(len(self.linears), "linear layer"),
            counted(len(self.convolutions), "convolution"),
            counted(len(self.of_type("Softmax")), "Softmax", "Softmaxes"),
            counted(len(self.activation_products), "product", "products") + " of activations",
        ]
        return ", ".join(part for part in parts if not part.startswith("0 ")) or "no layers"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """``2 linear layers``."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


@dataclasses.dataclass
class Upstream:
    """What computes a value, as far as the nearest layers.

    Attributes:
        linears: The nearest linear layers.
        products: The nearest other products (of activations, or with a constant that is not a
            matrix).
        softmaxes: The nearest Softmax or fused attention nodes.
        tables: Gathers from a constant: a value looked up by an index.
        inputs: Graph inputs reached.
        constants: Constants reached that are not single numbers.
        nodes: The nodes walked through.
    """

    linears: list[Linear] = dataclasses.field(default_factory=list)
    products: list[ir.Node] = dataclasses.field(default_factory=list)
    softmaxes: list[ir.Node] = dataclasses.field(default_factory=list)
    tables: list[ir.Node] = dataclasses.field(default_factory=list)
    inputs: list[ir.Value] = dataclasses.field(default_factory=list)
    constants: list[ir.Value] = dataclasses.field(default_factory=list)
    nodes: list[ir.Node] = dataclasses.field(default_factory=list)


def upstream(
    values: ir.Value | Iterable[ir.Value], products: Products, stop: Sequence[ir.Value] = ()
) -> Upstream:
    """Walks from values against the data until layers, products, Softmaxes or the values of stop.

    The nearest come first.
    """
    by_output = {layer.output: layer for layer in products.linears.values()}
    found = Upstream()
    pending = [values] if isinstance(values, ir.Value) else list(values)
    seen: set[ir.Value] = set(stop)
    for value in pending:
        if value in seen:
            continue
        seen.add(value)
        node = value.producer()
        if value in by_output:
            found.linears.append(by_output[value])
        elif (tensor := constant(value)) is not None:
            if tensor.size > 1:
                found.constants.append(value)
        elif node is None:
            found.inputs.append(value)
        elif node.op_type == "Softmax" or node.op_type in FUSED_ATTENTION_OPS:
            found.softmaxes.append(node)
        elif node.op_type in PRODUCT_OPS:
            found.products.append(node)
        else:
            if node.op_type == "Gather" and constant(node.inputs[0]) is not None:
                found.tables.append(node)
            found.nodes.append(node)
            pending.extend(data_inputs(node))
    return found
