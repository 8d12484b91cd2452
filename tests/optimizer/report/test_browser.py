"""The report in a real browser: it renders, logs nothing, and asks nobody for anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from confpress.optimizer.report.html import render
from confpress.optimizer.report.schema import Report

from .browser import MOST_PAGE_BYTES, VIEWS, browse, needs_browser, screenshot
from .test_html import report as report  # the fixture

pytestmark = needs_browser


@pytest.fixture
def page(report: Report, tmp_path: Path) -> Path:
    path = tmp_path / "the report, \u00fcber.html"
    path.write_text(render(report), encoding="utf-8")
    return path


def test_the_page_renders_with_its_plots_and_logs_nothing(page: Path, report: Report) -> None:
    assert page.stat().st_size < MOST_PAGE_BYTES
    held = browse(page, "--dump-dom")
    assert report.summary[0].name in held
    for plot in ("bars", "pareto", "layers", "time"):
        assert f'aria-label="{plot}"' in held
    ids = re.findall(r'\bid="([^"]+)"', held)
    assert len(ids) == len(set(ids))


def test_what_would_leave_the_page_is_seen(page: Path) -> None:
    """The check above can fail: a page that loads something is caught by its own policy."""
    page.write_text(
        page.read_text(encoding="utf-8").replace(
            "<body>", '<body><img src="http://confpress.invalid/a.png">'
        ),
        encoding="utf-8",
    )
    with pytest.raises(AssertionError, match=r"confpress\.invalid"):
        browse(page, "--dump-dom")


@pytest.mark.parametrize("view", VIEWS)
def test_screenshots(page: Path, view: str) -> None:
    assert screenshot(page, view, "report").stat().st_size > 20_000
