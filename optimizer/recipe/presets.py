"""Presets: what people want most, as differences from the recipe's defaults.

Apart from the recipe, so that the command line can name them without loading pydantic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named starting point of a recipe.

    Attributes:
        about: What it does, in a few words.
        options: Sections and keys that differ from the defaults.
    """

    about: str
    options: Mapping[str, Mapping[str, Any]]


DEFAULT = "default"

PRESETS: Mapping[str, Preset] = {
    DEFAULT: Preset("int8 linear layers and subsampling convolutions", {}),
    "linear": Preset(
        "int8 linear layers only; needs no calibration speech",
        {"quantize": {"convolution": "float32"}},
    ),
    "lossless": Preset(
        "float32 throughout: only rewrites that keep the outputs",
        {"quantize": {"linear": "float32", "convolution": "float32"}},
    ),
}
