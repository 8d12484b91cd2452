"""Weights as matrices: which there are, and which way their inputs lie."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..experts import ExpertGate

#: The layer behind the subsampling: its inputs are put in another order when a model is optimised
#: (``passes.rewrites.frames_major``), so that neighbours here are none there.
FRAMES_MAJOR: Final = "encoder.pre_encode.out"


def linear_layers(model: nn.Module, exclude: Sequence[str] = ()) -> Iterator[nn.Module]:
    """Linear layers and pointwise convolutions.

    Args:
        model: Where to look.
        exclude: Patterns of names that are left out (``encoder.layers.0.*``).
    """
    for name, module in model.named_modules():
        if _is_linear(module) and not _named(name, exclude):
            yield module


def convolutions(model: nn.Module, exclude: Sequence[str] = ()) -> Iterator[nn.Conv2d]:
    """Convolutions over two axes and several channels, as the subsampling has them."""
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d) or _named(name, exclude):
            continue
        if module.groups == 1 < module.in_channels and module.kernel_size != (1, 1):
            yield module


def rows_of(weight: Tensor) -> Tensor:
    """A weight with what an output sums over last, neighbours as they lie in memory then.

    Returns:
        [N, K] of a linear layer's [N, K] and a pointwise convolution's [N, K, 1]; [N, kernel T,
        kernel F · C] of a convolution's [N, C, kernel T, kernel F], whose sparse kernels read the
        channels of a frame one behind the other (:mod:`~...passes.operators.sparseconv2d`).
    """
    if weight.dim() == 4:
        return weight.permute(0, 2, 3, 1).flatten(2)
    return weight.flatten(1)


def input_rows(layer: nn.Module, read: Tensor, count: int) -> Tensor:
    """Some of the vectors that the rows of a layer's weight are multiplied with.

    Args:
        layer: Of :func:`linear_layers` or :func:`convolutions`.
        read: What it reads: [..., K] of a linear layer, channels second of a convolution.
        count: How many vectors are enough; they are drawn.

    Returns:
        [at most count, K], the columns as in ``rows_of(weight).flatten(1)``.
    """
    if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
        rows = _patches(layer, read, count)
    elif isinstance(layer, nn.Linear):
        rows = read.flatten(0, -2)
    else:
        rows = read.movedim(1, -1).flatten(0, -2)
    if len(rows) <= count:
        return rows
    return rows[torch.randint(len(rows), (count,), device=rows.device)]


def _patches(layer: nn.Conv2d, read: Tensor, count: int) -> Tensor:
    """Windows of a convolution's input [batch, C, T, F], of as many frames as give enough."""
    frames, bands = layer.kernel_size
    above, beside = (int(each) for each in layer.padding)
    padded = nn.functional.pad(read, (beside, beside, above, above))
    of_a_frame = len(read) * max((padded.shape[3] - bands) // layer.stride[1] + 1, 1)
    taken = frames + layer.stride[0] * math.ceil(count / of_a_frame)
    first = int(torch.randint(max(padded.shape[2] - taken, 0) + 1, ()))
    part = padded[:, :, first : first + taken]
    windows = nn.functional.unfold(part, (frames, bands), stride=layer.stride)
    parts = windows.view(len(read), read.shape[1], frames, bands, -1)
    return parts.permute(0, 4, 2, 3, 1).flatten(2).flatten(0, 1)


def from_rows(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """The weight of a shape whose :func:`rows_of` these are."""
    if len(shape) == 4:
        outputs, channels, frames, bands = shape
        return rows.reshape(outputs, frames, bands, channels).permute(0, 3, 1, 2)
    return rows.reshape(*shape)


def learned_weight(layer: nn.Module) -> Tensor:
    """The weight that is learned, before what parametrizations make of it."""
    if parametrize.is_parametrized(layer, "weight"):
        layer = cast(nn.ModuleDict, layer.parametrizations)["weight"]
        return cast(Tensor, layer.original)
    return cast(Tensor, layer.weight)


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.groups == 1 and set(module.kernel_size) == {1}
    # Gates of experts decide; they are small, and stay exact.
    return isinstance(module, nn.Linear) and not isinstance(module, ExpertGate)


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
