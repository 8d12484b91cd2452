"""Several results side by side, and what keeps them from being compared."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path

from pydantic import Field

from ...passes.errors import ConfpressError
from ...runtime.record import Record, read_record
from ..gate import Outcome
from ..text import milliseconds
from .schema import ORIGINAL, REPORT_JSON, Report, SummaryRow

#: What of the reports must be equal for figures to mean the same, and how to say that it is not.
_SAME: Sequence[tuple[str, Callable[[Report], Hashable]]] = (
    ("start from different models, so that sizes and error rates differ by that too",
     lambda report: report.models[0].sha256),
    ("were judged on different speech, so that their error rates are not those of one test",
     lambda report: report.validation_data and (
         report.validation_data.content, report.validation_data.utterances)),
    ("were timed on different machines or with other libraries, so that speed-ups compare, but "
     "not milliseconds",
     lambda report: (report.environment.cpu, tuple(report.environment.libraries.items()))),
    ("were timed on audio of different length, batch or threads, or not all on the CPU",
     lambda report: report.benchmark and (
         report.benchmark.cases[0].seconds,
         report.benchmark.cases[0].batch,
         report.benchmark.cases[0].threads)),
)  # fmt: skip


#: Ratio of the original's medians in two runs from which on their milliseconds do not compare.
_DRIFT = 1.1


class ComparedResult(Record):
    """One of the results."""

    name: str = Field(description="what it is called here: its folder's name")
    path: str = Field(description="its report, as given")
    started: str = Field(description="when its run started, UTC, ISO 8601")
    verdict: Outcome | None = Field(
        description="whether its word error rate stayed within its limit; none without a limit"
    )


class ComparedRow(Record):
    """One model of one result."""

    result: str = Field(description="the result it belongs to")
    summary: SummaryRow = Field(description="its figures; the name tells the result too")
    unbeaten: bool = Field(
        description="whether no other model is at least as small, as fast and as right, and "
        "better in one of them (time in that of the original of its result, on the same kind of "
        "processor); false where something was not measured"
    )


class Comparison(Record):
    """What `confpress compare --json` writes."""

    results: tuple[ComparedResult, ...] = Field(description="in the order they were given")
    rows: tuple[ComparedRow, ...] = Field(description="models, an original once")
    notes: tuple[str, ...] = Field(description="what keeps figures from being compared")


def load_report(path: Path) -> Report:
    """The report of a result folder, or of its `report.json`.

    Raises:
        ConfpressError: there is none.
    """
    file = path / REPORT_JSON if path.is_dir() else path
    return read_record(Report, file, "report that `confpress optimize` wrote")


def compare_reports(paths: Sequence[Path]) -> Comparison:
    """Puts results beside each other.

    Args:
        paths: Result folders or their reports.

    Raises:
        ConfpressError: there are fewer than two, or one cannot be read.
    """
    if len(paths) < 2:
        raise ConfpressError("compare needs at least two results.")
    loaded = [load_report(path) for path in paths]
    reports = dict(zip(_names(paths), loaded, strict=True))
    rows = _rows(reports)
    return Comparison(
        results=tuple(
            ComparedResult(
                name=name,
                path=str(path),
                started=report.started,
                verdict=report.verdict and report.verdict.outcome,
            )
            for path, (name, report) in zip(paths, reports.items(), strict=True)
        ),
        rows=tuple(
            ComparedRow(result=name, summary=row, unbeaten=_is_unbeaten(row, rows))
            for name, row in rows
        ),
        notes=(*_differences(reports), *_drift(reports)),
    )


def _differences(reports: dict[str, Report]) -> Iterator[str]:
    for words, aspect in _SAME:
        if len({aspect(report) for report in reports.values()}) > 1:
            yield f"The results {words}: {', '.join(reports)}."


def _drift(reports: dict[str, Report]) -> Iterator[str]:
    """Whether the machine itself was slower in one run than in another."""
    if len({report.models[0].sha256 for report in reports.values()}) > 1:
        return
    timed = {name: report.summary[0].p50_ms for name, report in reports.items()}
    known = {name: ms for name, ms in timed.items() if ms is not None}
    if known and max(known.values()) > _DRIFT * min(known.values()):
        each = ", ".join(f"{milliseconds(ms)} in {name}" for name, ms in known.items())
        yield f"The same original took {each}: compare speed-ups, not milliseconds."


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of their parents as tell them apart."""
    folders = [(path if path.is_dir() else path.parent).resolve() for path in paths]
    for count in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise ConfpressError("a result is given twice; give each once.")


def _rows(reports: dict[str, Report]) -> list[tuple[str, SummaryRow]]:
    """Every model under its result's name; the original of several results once."""
    originals: set[str] = set()
    rows = []
    for name, report in reports.items():
        for row in report.summary:
            if row.name == ORIGINAL:
                if report.models[0].sha256 in originals:
                    continue
                originals.add(report.models[0].sha256)
                shown = ORIGINAL if len(originals) == 1 else f"{name}: {ORIGINAL}"
            else:
                shown = f"{name}: {row.name}"
            rows.append((name, row.model_copy(update={"name": shown})))
    return rows


def _is_unbeaten(row: SummaryRow, rows: Sequence[tuple[str, SummaryRow]]) -> bool:
    figures = _figures(row)
    if figures is None:
        return False
    same = [other for _, other in rows if other.provider == row.provider]
    others = [found for other in same if (found := _figures(other)) is not None]
    return not any(
        other != figures and all(a <= b for a, b in zip(other, figures, strict=True))
        for other in others
    )


def _figures(row: SummaryRow) -> tuple[float, float, float] | None:
    """Size, error rate and time in that of the original; None where one was not measured."""
    if row.wer is None or row.p50_ms is None:
        return None
    return row.bytes, row.wer, 1 / (row.faster or 1)
