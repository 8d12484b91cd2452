"""Where a model's operators run: what falls to another provider, and what is copied for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from pydantic import Field

from ..profile.operators import NodeTime
from ..record import Record
from ..session import PROVIDERS, Provider

#: What ONNX Runtime puts between operators of two devices.
_COPIES: Final = frozenset(("MemcpyFromHost", "MemcpyToHost"))


class Placement(Record):
    """The operators of a model that ran."""

    provider: str = Field(description="the provider that was asked for")
    here: int = Field(description="operators that it ran")
    elsewhere: dict[str, int] = Field(
        description="operators that another provider ran, by type; sizes and shapes belong on the "
        "CPU, anything else makes the device wait"
    )
    copies: int = Field(description="copies between devices inside the model")

    @property
    def sentence(self) -> str:
        """What there is to know."""
        if not self.elsewhere and not self.copies:
            return f"All {self.here} operators run on {self.provider}, and nothing is copied."
        listed = ", ".join(f"{count} {name}" for name, count in self.elsewhere.items())
        return (
            f"{self.here} operators run on {self.provider}, {sum(self.elsewhere.values())} "
            f"elsewhere ({listed or 'none'}), with {self.copies} copies between devices."
        )


def placement(nodes: Sequence[NodeTime], provider: Provider) -> Placement:
    """Counts operators by where they ran.

    Args:
        nodes: Of a profile.
        provider: The one that was asked for.
    """
    working = [node for node in nodes if node.operator not in _COPIES]
    elsewhere = Counter(n.operator for n in working if n.provider != PROVIDERS[provider])
    return Placement(
        provider=provider,
        here=len(working) - elsewhere.total(),
        elsewhere=dict(elsewhere.most_common()),
        copies=len(nodes) - len(working),
    )
