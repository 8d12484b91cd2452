"""Keeps the record of a run's stages, and tells of each as it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..passes.base import PassResult
from .console import print_step
from .records import Census, Proof, StageRecord, change_records, refusal_records
from .text import seconds


@dataclass
class Notes:
    """What a stage says of itself while it runs; the fields are those of a `StageRecord`."""

    result: PassResult | None = None
    before: Census | None = None
    after: Census | None = None
    proof: Proof | None = None


@dataclass
class Recorder:
    """The stages of a run.

    Attributes:
        stages: Those that ended, in order.
        quiet: Whether nothing is printed.
    """

    quiet: bool = False
    stages: list[StageRecord] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, about: str, *, lossless: bool = False) -> Iterator[Notes]:
        """Times the block and records what it noted; a stage that fails is not recorded."""
        start = time.perf_counter()
        notes = Notes()
        yield notes
        self._add(
            StageRecord(
                name=name,
                about=about,
                status="done",
                seconds=time.perf_counter() - start,
                lossless=lossless,
                before=notes.before,
                after=notes.after,
                proof=notes.proof,
                **_said(notes.result),
            )
        )

    def resume(self, record: StageRecord) -> None:
        """Takes over the record of a stage that an interrupted run had finished."""
        self._add(record.model_copy(update={"resumed": True}))

    def skip(self, name: str, about: str, reason: str, *, lossless: bool = False) -> None:
        """Records that a stage does not run, and why."""
        self._add(
            StageRecord(
                name=name,
                about=about,
                status="skipped",
                reason=reason,
                seconds=0,
                lossless=lossless,
            )
        )

    def tell(self, text: str) -> None:
        """Prints a line, where anything is printed."""
        if not self.quiet:
            print_step(text)

    def _add(self, record: StageRecord) -> None:
        self.stages.append(record)
        self.tell(_line(record))


def _said(result: PassResult | None) -> dict[str, Any]:
    if result is None:
        return {}
    return {
        "changes": change_records(result.changes),
        "refusals": refusal_records(result.refusals),
    }


def _line(record: StageRecord) -> str:
    """``simplify            1.2 s  12 changes, 3 left alone, equal within 2e-07``."""
    if record.status == "skipped":
        return f"{record.name:<20} skipped  {record.reason}"
    parts = ["finished before"] if record.resumed else []
    if record.changes or record.refusals:
        parts.append(f"{len(record.changes)} changes, {len(record.refusals)} left alone")
    if record.proof is not None:
        parts.append(f"outputs equal within {record.proof.worst:.1g}")
    return f"{record.name:<20} {seconds(record.seconds):>7}  {'; '.join(parts)}".rstrip()
