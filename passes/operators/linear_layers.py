"""All operators of linear layers: what those who read lowered models ask of them."""

from __future__ import annotations

from typing import Final

from . import (
    quantlinear,
    quantlinear_lowbit,
    sparselinear,
    sparselinear_float,
    sparselinear_half,
    sparselinear_uneven,
)
from .activated import activation_of

#: The index of the input `bias`, by the name without an activation.
_BIAS: Final = {
    quantlinear.FAMILY: 3,
    **dict.fromkeys(quantlinear_lowbit.FAMILIES, 3),
    sparselinear.FAMILY: 4,
    sparselinear_uneven.FAMILY: 5,
    sparselinear_float.FAMILY: 3,
    sparselinear_half.FAMILY: 3,
}
#: An operator's name without its activation, by its name.
FAMILY_OF: Final = {name: family for family in _BIAS for name in activation_of(family)}
#: The activation of each operator, by its name.
ACTIVATION_OF: Final = {
    name: activation for family in _BIAS for name, activation in activation_of(family).items()
}
#: The index of each operator's input `bias`.
BIAS_INPUT: Final = {name: _BIAS[family] for name, family in FAMILY_OF.items()}
#: Operators that multiply floats, and those that quantise their frames.
FLOAT: Final = frozenset(
    (*activation_of(sparselinear_float.FAMILY), *activation_of(sparselinear_half.FAMILY))
)
QUANTISED: Final = FAMILY_OF.keys() - FLOAT
