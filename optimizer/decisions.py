"""``decisions.json``: what a run measured and built on, so that another one builds the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..passes.errors import ConfpressError
from ..passes.quantize import Range
from ..runtime.record import Record, read_record

DECISIONS = "decisions.json"


class Findings(Record):
    """What a run measures and its passes take as arguments; all of it is plain data.

    Whatever else enters a model follows from the model, the recipe and the versions.
    """

    encoder_frames: int | None = Field(
        default=None,
        description="frames after the subsampling of the longest audio that the recipe names",
    )
    ranges: Mapping[str, Range] = Field(
        default={}, description="calibrated range of activations, by value name"
    )


class Decisions(Record):
    """The measured choices of a run; `confpress optimize --decisions FILE` takes them over."""

    schema_version: Literal[1] = Field(default=1, description="version of this format")
    model: str = Field(description="hash of the model's file and external data they hold for")
    findings: Findings = Field(description="what was measured")

    def write(self, folder: Path) -> None:
        """Writes `decisions.json` into a folder."""
        text = self.model_dump_json(indent=2) + "\n"
        (folder / DECISIONS).write_text(text, encoding="utf-8")


def read_decisions(path: Path, model: str) -> Findings:
    """What an earlier run measured.

    Args:
        path: The `decisions.json` of its result.
        model: `model_digest` of the model that is optimised now.

    Raises:
        ConfpressError: the file cannot be read, or was written for another model.
    """
    decisions = read_record(Decisions, path, f"{DECISIONS} of a result")
    if decisions.model != model:
        raise ConfpressError(
            f"{path} was decided for another model; run without --decisions, or give the model "
            "that it belongs to."
        )
    return decisions.findings
