"""Structured pruning with L0 masks: units, heads, channels and modules, exactly removable.

Every unit of a feed-forward module, every head, every channel of a convolution module and every
module has a mask. While the model learns, masks are samples of hard-concrete distributions
(Louizos et al. 2018) whose probability of being zero is learned too, under a Lagrangian that asks
for a share of the parameters (CoFi, Xia et al. 2022); Jiang et al., Interspeech 2023, prune a
Conformer's modules so. Later they are fixed: the least likely are zero, as many as meet the share,
the others factors.

A mask stands at the inputs of a module's last layer, where it is a factor of the layer's columns; a
module's mask is a factor of that layer's weight and bias. So masks are parametrizations of weights,
and :class:`~...passes.prune.RemovePruned` removes on the graph what they made zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..encoder import ConformerLayer
from .compression import Method

#: Hard-concrete distributions are stretched to these ends, so that zero and one have a share.
_LOW, _HIGH = -0.1, 1.1
_TEMPERATURE = 2 / 3
#: Of a mask that is fixed, before stretching: what DPHuBERT and CoFi take.
_SHARPNESS = 0.8
#: First log-odds of parts and of whole modules, which are given up later.
_FIRST_PART, _FIRST_MODULE = 3.0, 4.0


class GateConfig(BaseModel):
    """How much is pruned, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep: float = Field(
        default=0.5, gt=0, lt=1, description="share of the blocks' parameters that stays"
    )
    warmup: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="share of the run in which the aim goes from 1 to keep",
    )
    fixed: float = Field(
        default=0.5, gt=0, lt=1, description="share of the run after which masks are fixed"
    )
    rate: float = Field(default=0.02, gt=0, description="highest learning rate of the masks")
    modules: bool = Field(default=True, description="whether whole modules may go")


@dataclass(frozen=True)
class _Place:
    """Where a module's masks stand.

    Attributes:
        layer: Its last layer.
        parts: How many units, heads or channels it has.
        size: Parameters that go with one of them.
    """

    layer: nn.Linear | nn.Conv1d
    parts: int
    size: int


class Gate(nn.Module):
    """The masks of one module: of its parts, and of itself."""

    fixed: Tensor
    values: Tensor

    def __init__(self, parts: int, size: int, whole: bool) -> None:
        """Prepares masks that let everything through.

        Args:
            parts: How many parts the module has.
            size: Parameters that go with one of them.
            whole: Whether the module may go as a whole.
        """
        super().__init__()
        self.size = size
        self.whole = whole
        first = torch.full((parts + 1,), _FIRST_PART)
        first[-1] = _FIRST_MODULE
        self.log_odds = nn.Parameter(first)
        # Whether masks are fixed, and what they are then.
        self.register_buffer("fixed", torch.zeros((), dtype=torch.bool))
        self.register_buffer("values", torch.ones(parts + 1))
        self._drawn: Tensor | None = None

    def draw(self) -> None:
        """Draws the masks of a step."""
        if self.fixed:
            self._drawn = None
            return
        noise = torch.empty_like(self.log_odds).uniform_(1e-6, 1 - 1e-6)
        odds = (torch.logit(noise) + self.log_odds) / _TEMPERATURE
        self._drawn = self._stretched(torch.sigmoid(odds))

    def masks(self) -> Tensor:
        """Masks of the parts, and of the module at the end: [parts + 1]."""
        if self.fixed:
            return self.values
        if self.training and self._drawn is not None:
            return self._drawn
        return self.likely_masks()

    def likely_masks(self) -> Tensor:
        """Masks without chance, as in evaluation: [parts + 1]."""
        return self._stretched(torch.sigmoid(self.log_odds * _SHARPNESS / _TEMPERATURE))

    def probabilities(self) -> Tensor:
        """How likely masks are above zero: [parts + 1]."""
        likely = torch.sigmoid(self.log_odds - _TEMPERATURE * math.log(-_LOW / _HIGH))
        return likely if self.whole else torch.cat([likely[:-1], likely.new_ones(1)])

    def likelihood(self) -> Tensor:
        """Log-odds of the parts, at most those of the module: [parts]."""
        parts, module = self.log_odds[:-1], self.log_odds[-1]
        return parts.minimum(module) if self.whole else parts

    def fix(self, kept: Tensor) -> None:
        """Fixes the masks: zero but for the parts that are kept, bool [parts], and their module.

        One whose likely value is zero and that is kept has its chance of not being so as a factor.
        """
        likely = self.likely_masks()
        factors = torch.where(likely > 0, likely, self.probabilities())
        module = kept.any() if self.whole else torch.tensor(True)
        stays = torch.cat([kept, module.view(1)]).to(factors.device)
        self.values.copy_(factors * stays)
        self.fixed.fill_(True)

    def expected_size(self) -> Tensor:
        """Parameters that are expected to stay."""
        likely = self.probabilities()
        return likely[-1] * likely[:-1].sum() * self.size

    def _stretched(self, shares: Tensor) -> Tensor:
        masks = (shares * (_HIGH - _LOW) + _LOW).clamp(0, 1)
        return masks if self.whole else torch.cat([masks[:-1], masks.new_ones(1)])


class GatedColumns(nn.Module):
    """The masks as factors of the columns of a module's last weight."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, weight: Tensor) -> Tensor:
        """A weight [N, columns, ...], as many columns for each part."""
        masks = self.gate.masks()
        parts = masks[:-1].repeat_interleave(weight.shape[1] // (len(masks) - 1))
        return weight * (masks[-1] * parts).view(1, -1, *[1] * (weight.dim() - 2))


class GatedBias(nn.Module):
    """The module's mask as a factor of its last bias."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, bias: Tensor) -> Tensor:
        """A bias [N]."""
        return bias * self.gate.masks()[-1]


class Gates(Method):
    """The method of :class:`GateConfig`, for the blocks of a Conformer."""

    def __init__(self, config: GateConfig) -> None:
        self.config = config
        self._settled = False
        self._gates: list[Gate] = []
        self._multipliers = nn.Parameter(torch.zeros(2))
        self._aim = 1.0

    @property
    def settled(self) -> bool:
        """Whether masks are fixed."""
        return self._settled

    def attach(self, model: nn.Module) -> None:
        """Puts masks on the last layer of every module."""
        for place in _places(model):
            gate = Gate(place.parts, place.size, self.config.modules)
            parametrize.register_parametrization(place.layer, "weight", GatedColumns(gate))
            if place.layer.bias is not None:
                parametrize.register_parametrization(place.layer, "bias", GatedBias(gate))
            self._gates.append(gate)
        self._whole = sum(gate.size * (len(gate.log_odds) - 1) for gate in self._gates)

    def advance(self, done: float) -> bool:
        """Draws the masks of the next step, or fixes them where it is time to."""
        self._aim = 1 - (1 - self.config.keep) * min(done / self.config.warmup, 1.0)
        fix = done >= self.config.fixed and not self._settled
        if fix:
            self._fix()
            self._settled = True
        for gate in self._gates:
            gate.draw()
        return fix

    def penalty(self) -> Tensor | None:
        """The Lagrangian of what stays beyond the aim; the multipliers climb."""
        if self._settled:
            return None
        excess = self.expected_share() - self._aim
        return self._multipliers[0] * excess + self._multipliers[1] * excess.square()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Masks at their rate; multipliers climb at the same."""
        masks = [gate.log_odds for gate in self._gates]
        each = {"lr": self.config.rate, "weight_decay": 0.0}
        return [
            {"params": masks, **each},
            {"params": [self._multipliers], **each, "maximize": True},
        ]

    def expected_share(self) -> Tensor:
        """Share of the parameters that is expected to stay."""
        return torch.stack([gate.expected_size() for gate in self._gates]).sum() / self._whole

    def state_dict(self) -> dict[str, Any]:
        """The multipliers, and whether masks are fixed; masks are in the model's state."""
        return {"multipliers": self._multipliers.detach(), "settled": self._settled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        self._multipliers.data.copy_(state["multipliers"])
        self._settled = state["settled"]

    @torch.no_grad()
    def _fix(self) -> None:
        """Keeps the likeliest parts, as many as the aim has room for, whatever the Lagrangian left.

        A part is as likely as its module where that is the less likely of the two.
        """
        own = [gate.log_odds[:-1].cpu() for gate in self._gates]
        likely = torch.cat([gate.likelihood().cpu() for gate in self._gates])
        sizes = torch.cat(
            [torch.full((len(gate.log_odds) - 1,), gate.size) for gate in self._gates]
        )
        # Parts that are as likely as their module stand in their own order.
        order = torch.cat(own).argsort(descending=True)
        order = order[likely[order].argsort(descending=True, stable=True)]
        kept = torch.zeros(len(order), dtype=torch.bool)
        kept[order] = sizes[order].cumsum(0) <= self.config.keep * self._whole
        begin = 0
        for gate, parts in zip(self._gates, own, strict=True):
            gate.fix(kept[begin : begin + len(parts)])
            begin += len(parts)


def _places(model: nn.Module) -> Iterator[_Place]:
    """The places of masks in every block."""
    for block in model.modules():
        if not isinstance(block, ConformerLayer):
            continue
        for feed_forward in (block.feed_forward1, block.feed_forward2):
            first, last = feed_forward.linear1, feed_forward.linear2
            yield _Place(last, last.in_features, first.in_features + 1 + last.out_features)
        attention = block.self_attn
        width = attention.linear_out.out_features
        # Queries, keys and values with their biases, positions, the output, and two biases.
        yield _Place(attention.linear_out, attention.heads, attention.head_size * (5 * width + 5))
        convolution = block.conv
        taps = convolution.depthwise_conv.kernel_size[0]
        yield _Place(convolution.pointwise_conv2, width, 3 * width + 2 + taps + 3)
