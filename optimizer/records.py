"""What a run notes down, stage by stage: the parts of ``report.json`` that the pipeline makes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from ..passes.base import Change, Refusal
from ..runtime.record import Record
from ..runtime.validation.compare import OutputDifference


class ChangeRecord(Record):
    """One thing that a stage did."""

    where: str = Field(description="layer id, or name of the node or value")
    what: str = Field(description="what happened there")


class RefusalRecord(Record):
    """One place that a stage looked at and left alone."""

    where: str = Field(description="layer id, or name of the node or value")
    reason: str = Field(description="why, in a sentence")


class Census(Record):
    """How much there is in a model."""

    nodes: int = Field(description="operators, those of functions counted once")
    parameters: int = Field(description="numbers stored in the model's constants")
    bytes: int = Field(description="bytes of these constants")


class Proof(Record):
    """The evidence that a lossless stage kept the outputs."""

    tolerance: float = Field(description="largest `max_abs / scale` that is allowed")
    cases: tuple[OutputDifference, ...] = Field(description="what was compared")

    @property
    def worst(self) -> float:
        """Largest relative difference."""
        return max((c.max_abs / c.scale if c.scale else c.max_abs for c in self.cases), default=0.0)


class StageRecord(Record):
    """One stage of the pipeline."""

    name: str = Field(description="the stage: `simplify`, `lower.cpu` ...")
    about: str = Field(description="what the stage is for")
    status: Literal["done", "skipped"] = Field(description="whether it ran")
    reason: str | None = Field(default=None, description="why it was skipped")
    seconds: float = Field(description="wall time, proof included")
    resumed: bool = Field(
        default=False, description="whether an interrupted run had finished it before"
    )
    lossless: bool = Field(description="whether it must keep the outputs")
    changes: tuple[ChangeRecord, ...] = Field(default=(), description="what it did")
    refusals: tuple[RefusalRecord, ...] = Field(default=(), description="what it left alone")
    before: Census | None = Field(default=None, description="the model before")
    after: Census | None = Field(default=None, description="the model after")
    proof: Proof | None = Field(default=None, description="comparison with the original's outputs")


def change_records(changes: Iterable[Change]) -> tuple[ChangeRecord, ...]:
    """A pass's changes for the report."""
    return tuple(ChangeRecord(where=c.where, what=c.what) for c in changes)


def refusal_records(refusals: Iterable[Refusal]) -> tuple[RefusalRecord, ...]:
    """A pass's refusals for the report."""
    return tuple(RefusalRecord(where=r.where, reason=r.reason) for r in refusals)


def grouped(pairs: Iterable[tuple[str, str]], shown: int = 3) -> list[tuple[str, str]]:
    """Lines that say the same of several places, as one line each.

    Args:
        pairs: What was said, and of where.
        shown: Places named; the rest are counted.

    Returns:
        What was said and its places, in the order of their first mention.
    """
    places: dict[str, list[str]] = {}
    for text, where in pairs:
        places.setdefault(text, []).append(where)
    return [(text, _listed(where, shown)) for text, where in places.items()]


def _listed(places: list[str], shown: int) -> str:
    if len(places) <= shown:
        return ", ".join(places)
    return f"{', '.join(places[:shown])} and {len(places) - shown} more"
