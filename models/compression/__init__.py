"""Compression in training: what happens to a model's weights while it learns."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from .compression import Compression, Method, bake
from .experts import Experts, ExpertsConfig
from .gates import GateConfig, Gates
from .low_bit import LowBit, LowBitConfig
from .sparsity import BalancedSparsity, SparsityConfig


class Kind(NamedTuple):
    """A method and its options."""

    options: type[BaseModel]
    method: Callable[[Any], Method]


#: The methods by the sections that ask for them, in the order in which weights pass through them.
KINDS: Final[Mapping[str, Kind]] = {
    "experts": Kind(ExpertsConfig, Experts),
    "gates": Kind(GateConfig, Gates),
    "sparsity": Kind(SparsityConfig, BalancedSparsity),
    "low_bit": Kind(LowBitConfig, LowBit),
}

__all__ = ["KINDS", "Compression", "Kind", "Method", "bake"]
