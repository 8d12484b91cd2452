"""Several methods at once, as the training loop sees them.

Most are parametrizations of weights (:mod:`torch.nn.utils.parametrize`): what a layer computes with
is made of what is learned, by leaving weights out or rounding them. Modules, their names and the
export know nothing of it; :func:`bake` leaves the made weights in the end. Experts are more: gates
that the model keeps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Method(ABC):
    """One way to compress; what only some methods do has a default."""

    @property
    def settled(self) -> bool:
        """Whether what is left out stays as it is from now on."""
        return True

    @abstractmethod
    def attach(self, model: nn.Module) -> None:
        """Changes the model: parametrizes the weights that the method is for, or adds gates."""

    def advance(self, done: float) -> bool:
        """Prepares the next step.

        Args:
            done: Share of the run that is over.

        Returns:
            Whether the weights that layers compute with have jumped.
        """
        return False

    def penalty(self) -> Tensor | None:
        """What is added to the loss."""
        return None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters that learn at rates of their own, as optimizers take groups."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside the model's state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 (most have none)
        """Goes on from a state."""


class Compression:
    """The methods of a run, in the order in which weights pass through them."""

    def __init__(self, methods: Sequence[Method]) -> None:
        self.methods = tuple(methods)

    @property
    def settled(self) -> bool:
        """Whether all methods are."""
        return all(method.settled for method in self.methods)

    def attach(self, model: nn.Module) -> None:
        """Attaches all."""
        for method in self.methods:
            method.attach(model)

    def advance(self, done: float) -> bool:
        """Prepares the next step; tells whether weights have jumped."""
        # Every method is asked, also behind one whose weights have jumped.
        jumped = [method.advance(done) for method in self.methods]
        return any(jumped)

    def penalty(self) -> Tensor:
        """The sum of the methods' penalties."""
        penalties = [method.penalty() for method in self.methods]
        return sum((each for each in penalties if each is not None), torch.zeros(()))

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, weight_decay: float
    ) -> list[dict[str, Any]]:
        """Those of the methods, and the model's other parameters in the first group."""
        groups = [group for method in self.methods for group in method.parameter_groups()]
        theirs = {id(parameter) for group in groups for parameter in group["params"]}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in theirs]
        return [{"params": rest, "lr": learning_rate, "weight_decay": weight_decay}, *groups]

    def state_dict(self) -> list[dict[str, Any]]:
        """The methods' states."""
        return [method.state_dict() for method in self.methods]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Goes on from the states of the same methods."""
        for method, state in zip(self.methods, states, strict=True):
            method.load_state_dict(state)


def bake(model: nn.Module) -> None:
    """Leaves every parametrized weight as what it is made into, in evaluation mode."""
    model.eval()
    for module in model.modules():
        if parametrize.is_parametrized(module):
            for name in list(cast(nn.ModuleDict, module.parametrizations)):
                parametrize.remove_parametrizations(module, name)
