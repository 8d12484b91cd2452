"""Which kind of module a residual branch is, and what lies in a branch that is none."""

from __future__ import annotations

import dataclasses

from ..base import Refusal
from .attention import recognise_attention
from .branch import FUSED_ATTENTION_OPS, Branch, NotRecognisedError, counted
from .branches import recognise_branches
from .convolution import recognise_convolution
from .feed_forward import recognise_feed_forward
from .flow import Flow
from .linear import Products
from .modules import Details, Kind, Norm
from .residual import Join


@dataclasses.dataclass(frozen=True, eq=False)
class Classified:
    """A residual join with the kind of its branch; details are None for ``Kind.OTHER``."""

    branch: Branch
    kind: Kind
    details: Details | None
    reason: str = ""

    @property
    def join(self) -> Join:
        """The join of the branch."""
        return self.branch.join

    @property
    def name(self) -> str:
        """The name of the Add, for a refusal."""
        return self.join.add.name or "Add"


def classify_joins(
    joins: list[Join], flow: Flow, products: Products, norms: tuple[Norm, ...]
) -> tuple[list[Classified], list[Refusal]]:
    """Classifies joins from the inside out; joins around known modules are skip connections.

    Returns:
        The joins that make the stream, in graph order (those of no known kind with the reason),
        and a refusal for every skip connection around recognised modules.
    """
    taken: list[Classified] = []
    skips: list[Refusal] = []
    for join in sorted(joins, key=lambda j: len(j.nodes)):
        inside = [c for c in taken if c.join.add in join.nodes]
        known = [c for c in inside if c.kind is not Kind.OTHER]
        if known:
            skips.append(
                Refusal(
                    join.add.name or "Add",
                    f"a skip connection around {counted(len(known), 'module')}; the modules are "
                    "recognised, the connection is left as it is",
                )
            )
            continue
        taken = [c for c in taken if c not in inside]
        taken.append(classify(Branch(join, flow, products, norms)))
    taken.sort(key=lambda c: flow.order[c.join.add])
    return taken, skips


def classify(branch: Branch) -> Classified:
    """The kind of one branch by what is in it, confirmed by the kind's own recogniser."""
    try:
        if branch.of_type("Softmax", *FUSED_ATTENTION_OPS):
            return _attention(branch)
        if any(c.is_depthwise for c in branch.convolutions):
            return Classified(branch, Kind.CONVOLUTION, recognise_convolution(branch))
        if branch.activation_products:
            raise NotRecognisedError("it multiplies activations, but without a Softmax")
        return Classified(branch, Kind.FEED_FORWARD, recognise_feed_forward(branch))
    except NotRecognisedError as error:
        reason = f"a residual branch with {branch.contents} is no known module: {error}"
        return Classified(branch, Kind.OTHER, None, reason)


def _attention(branch: Branch) -> Classified:
    has_products = branch.activation_products or branch.of_type(*FUSED_ATTENTION_OPS)
    if not has_products:
        raise NotRecognisedError(
            "its Softmax weighs no values, so it is not attention (self-conditioned CTC feeds "
            "predictions back like this, and a gate weighs experts)"
        )
    attention = recognise_attention(branch)
    has_others = not {layer.node for layer in branch.linears} <= {n.node for n in attention.layers}
    # Alone, a depthwise convolution remembers values of other frames (SAN-M, Gao et al. 2020).
    if has_others and any(c.is_depthwise for c in branch.convolutions):
        return Classified(branch, Kind.BRANCHES, recognise_branches(branch, attention))
    return Classified(branch, Kind.SELF_ATTENTION, attention)
