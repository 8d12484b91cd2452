from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from confpress.optimizer.report.comparison import compare_reports, load_report
from confpress.optimizer.report.comparison_html import render_comparison
from confpress.optimizer.report.schema import Report
from confpress.passes.errors import ConfpressError

from ..conftest import Confpress
from .test_html import report as report  # the fixture


@pytest.fixture
def folders(report: Report, tmp_path: Path) -> tuple[Path, Path]:
    """Two results; the second one's models are half as large and twice as fast."""
    rows = [
        row if row.name == "original" else row.model_copy(
            update={"bytes": row.bytes // 2, "p50_ms": row.p50_ms / 2, "faster": row.faster * 2}
        )
        for row in report.summary
    ]  # fmt: skip
    places = tmp_path / "one", tmp_path / "two"
    for place, summary in zip(places, (report.summary, tuple(rows)), strict=True):
        place.mkdir()
        text = report.model_copy(update={"summary": summary}).model_dump_json()
        (place / "report.json").write_text(text)
    return places


def change(folder: Path, key: str, value: object) -> None:
    document = json.loads((folder / "report.json").read_text())
    *way, last = key.split(".")
    place = document
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    (folder / "report.json").write_text(json.dumps(document))


def test_results_stand_beside_each_other(folders: tuple[Path, Path]) -> None:
    found = compare_reports(folders)
    names = [row.summary.name for row in found.rows]
    assert names == ["original", "one: portable", "one: cpu", "two: portable", "two: cpu"]
    assert [r.name for r in found.results] == ["one", "two"]
    assert found.notes == ()
    unbeaten = {row.summary.name for row in found.rows if row.unbeaten}
    assert unbeaten
    assert not unbeaten & {"one: portable", "one: cpu"}
    assert compare_reports([folders[0], folders[1] / "report.json"]).rows == found.rows


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("models.0.sha256", "0", "start from different models"),
        ("validation_data.content", "0", "judged on different speech"),
        ("environment.cpu", "another", "timed on different machines"),
        ("benchmark.cases.0.threads", 7, "different length, batch or threads"),
        ("summary.0.p50_ms", 1e6, "compare speed-ups, not milliseconds"),
    ],
)
def test_what_differs_is_said(
    folders: tuple[Path, Path], key: str, value: object, said: str
) -> None:
    change(folders[1], key, value)
    (note,) = compare_reports(folders).notes
    assert said in note


def test_folders_of_one_name_are_told_apart(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(folders[0], tmp_path / "other" / "one"))
    found = compare_reports([folders[0], other])
    assert [r.name for r in found.results] == [f"{tmp_path.name}/one", "other/one"]
    with pytest.raises(ConfpressError, match="given twice"):
        compare_reports([folders[0], folders[0] / "report.json"])
    with pytest.raises(ConfpressError, match="at least two"):
        compare_reports(folders[:1])


def test_results_that_are_not_there_are_not_the_same(tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match=r"cannot read .*one: No such file"):
        compare_reports([tmp_path / "one", tmp_path / "other"])


def test_what_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match="cannot read"):
        load_report(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(ConfpressError, match="is no report that"):
        load_report(tmp_path)


def test_the_command_prints_writes_and_draws(
    confpress: Confpress, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    page, data = tmp_path / "c.html", tmp_path / "c.json"
    done = confpress("compare", *folders, "--html", page, "--json", data)
    assert done.status == 0, done.err
    assert "two: cpu" in done.out and "not beaten" in done.out
    assert len(json.loads(data.read_text())["rows"]) == 5
    text = page.read_text()
    for expected in ("two: cpu", 'aria-label="pareto"', 'aria-label="bars"'):
        assert expected in text
    assert "//" not in text.replace("http://www.w3.org", "")
    assert confpress("compare", folders[0]).status == 1


def test_plots_stand_on_one_clock(folders: tuple[Path, Path]) -> None:
    change(folders[1], "summary.0.p50_ms", 1e6)
    change(folders[1], "summary.2.p50_ms", 1e6)
    table, _, plot = render_comparison(compare_reports(folders)).partition("<svg")
    assert "1000000 ms" in table
    assert "1000000 ms" not in plot
