"""What a stable id says: ``encoder.layers.3.self_attn.linear_q``.

A module's id is ``encoder.pre_encode``, ``encoder.layers.3.conv``, ``encoder.norm_out``,
``decoder``; a layer's continues its module's.
"""

from __future__ import annotations

import re

_MODULE = re.compile(r"(encoder\.(?:layers\.(\d+)\.|after\.)?[^.]+|decoder)(?:\.|$)")
#: A number that tells modules of the same role in a block apart.
_COUNT = re.compile(r"(?<=[a-z])_?\d+$")


def module_of_layer(layer_id: str) -> str:
    """The module's part of an id; the id itself if no module has such an id."""
    match = _MODULE.match(layer_id)
    return match.group(1) if match else layer_id


def block_of(layer_id: str) -> int | None:
    """The index of the block; None outside the blocks."""
    match = _MODULE.match(layer_id)
    return int(match.group(2)) if match and match.group(2) else None


def role_of(module_id: str) -> str:
    """The name of a module in its block without a number: ``feed_forward``, ``conv``."""
    return _COUNT.sub("", module_of_layer(module_id).rpartition(".")[2])
