"""Which number format each linear layer gets: the plan that ``quantize`` carries out.

A plan is JSON, written by the choice of formats, and may be edited and given back:

    {"version": 1, "layers": {"encoder.layers.0.ff1.linear1": {"weight": "int4", "block": 32}}}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import ConfpressError
from .formats import FORMATS, HALVES, ScaleMethod, ScaleType, Scheme, number_format

#: A layer's inputs: left alone, or quantised per frame with a scale found at run time.
Activations = Literal["float32", "int8", "fp8"]
#: Formats of weights that are no codes with scales.
PLAIN = ("float32", *HALVES)


class LayerFormat(BaseModel):
    """The format of one linear layer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: str = Field(
        description="`float32`, `float16` or `bfloat16` (as storage), or one of "
        f" {', '.join(FORMATS)}"
    )
    block: int = Field(
        default=0, description="rows of the weight that share a scale; 0 is one an output channel"
    )
    zero_point: bool = Field(
        default=False, description="whether the weight's groups have zero points"
    )
    method: ScaleMethod = Field(default="maximum", description="how the weight's scales are found")
    scale_type: ScaleType = Field(
        default="float32", description="how the weight's scales are stored"
    )
    activations: Activations = Field(
        default="float32", description="what the layer's input becomes, frame by frame"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> LayerFormat:
        if self.weight in PLAIN:
            if self != LayerFormat.model_construct(weight=self.weight):
                raise ValueError(f"{self.weight} takes no further options")
            return self
        if self.weight not in FORMATS:
            raise ValueError(f"weight must be one of {', '.join((*PLAIN, *FORMATS))}")
        try:
            _ = self.scheme
        except ConfpressError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def scheme(self) -> Scheme:
        """How the weight is quantised.

        Raises:
            ConfpressError: The format is none of codes with scales, or the options do not agree.
        """
        return Scheme(
            number_format(self.weight),
            "block" if self.block else "channel",
            self.block,
            self.zero_point,
            self.method,
            self.scale_type,
        )

    @property
    def label(self) -> str:
        """In a few words, for reports."""
        if self.weight in PLAIN:
            return self.weight
        groups = f"per block of {self.block}" if self.block else "per channel"
        inputs = f", activations {self.activations} per frame"
        return f"{self.weight} {groups}{'' if self.activations == 'float32' else inputs}"

    def stored_bytes(self, k: int, n: int) -> int:
        """Bytes of a weight [k, n] in this format."""
        if self.weight in PLAIN:
            return k * n * (4 if self.weight == "float32" else 2)
        return self.scheme.stored_bytes(k, n)


class FormatPlan(BaseModel):
    """Formats by layer id; layers that it does not name stay float32."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = Field(default=1, description="version of this format")
    layers: dict[str, LayerFormat] = Field(
        default_factory=dict, description="the format of a layer, by its id"
    )

    @classmethod
    def load(cls, path: Path) -> FormatPlan:
        """Reads a plan.

        Raises:
            ConfpressError: The file cannot be read, is no JSON, or says something not allowed.
        """
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfpressError(f"the plan {path} cannot be read: {error}.") from error
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the plan"
            raise ConfpressError(f"{path}: {where}: {first['msg']}.") from error

    def to_json(self) -> str:
        """The plan as JSON that reads well."""
        said = {name: form.model_dump(exclude_defaults=True) for name, form in self.layers.items()}
        return json.dumps({"version": self.version, "layers": said}, indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Writes the plan."""
        path.write_text(self.to_json(), encoding="utf-8")
