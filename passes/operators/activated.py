"""Activations that the operators of linear layers end with; each is the end of an operator's name.

They are no overloads of one function: ONNX Runtime up to 1.26 gives all overloads of one model the
body of the first.
"""

from __future__ import annotations

from typing import Final

from ..errors import ConfpressError

#: By activation: the end of the operator's name, and how its output A comes of the linear layer's
#: output Z. Names are those of :func:`.structure.activations.find_activation`.
ACTIVATED: Final = {
    "": ("", "A = Identity (Z)"),
    "silu": ("SiLU", "gate = Sigmoid (Z) A = Mul (Z, gate)"),
    "relu": ("ReLU", "A = Relu (Z)"),
    "gelu": (
        "GELU",
        """
  root = Constant <value_float = 0.70710678> ()
  scaled = Mul (Z, root)
  error = Erf (scaled)
  unit = Constant <value_float = 1.0> ()
  doubled = Add (error, unit)
  half = Constant <value_float = 0.5> ()
  share = Mul (doubled, half)
  A = Mul (Z, share)""",
    ),
    "gelu_tanh": (
        "GELUTanh",
        """
  square = Mul (Z, Z)
  cubic = Constant <value_float = 0.044715> ()
  bend = Mul (square, cubic)
  unit = Constant <value_float = 1.0> ()
  bent = Add (bend, unit)
  root = Constant <value_float = 0.79788456> ()
  scaled = Mul (Z, root)
  argument = Mul (scaled, bent)
  tangent = Tanh (argument)
  doubled = Add (tangent, unit)
  half = Constant <value_float = 0.5> ()
  share = Mul (doubled, half)
  A = Mul (Z, share)""",
    ),
    "sigmoid": ("Sigmoid", "A = Sigmoid (Z)"),
}
ACTIVATIONS: Final = tuple(ACTIVATED)


def operator(family: str, activation: str) -> str:
    """The name of a family's operator with an activation.

    Args:
        family: The operator without one, such as ``QuantLinear``.
        activation: One of ACTIVATIONS; "" is none.

    Raises:
        ConfpressError: The activation is unknown.
    """
    if activation not in ACTIVATED:
        known = ", ".join(f'"{name}"' for name in ACTIVATED)
        raise ConfpressError(f'{family} has the activations {known}, not "{activation}".')
    return family + ACTIVATED[activation][0]


def activation_of(family: str) -> dict[str, str]:
    """The activation of each operator of a family, by the operator's name."""
    return {operator(family, activation): activation for activation in ACTIVATIONS}
