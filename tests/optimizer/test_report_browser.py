"""The report in a real browser: it renders, logs nothing, and asks nobody for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from confpress.optimizer.report_html import render
from confpress.optimizer.report_schema import Report

from .test_report_html import report as report  # the fixture

#: What the page of one result may weigh.
MOST_BYTES = 5_000_000
#: Where screenshots are kept; without it, in the test's own folder.
ARTEFACTS = "CONFPRESS_ARTEFACTS"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), None)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
)  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def browse(page: Path, *flags: str) -> str:
    """Opens a page; returns the page as the browser holds it, and what was logged about it."""
    profile = page.parent / "browser profile"
    done = subprocess.run(
        [str(CHROMIUM), *_FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console
    return done.stdout


@pytest.fixture
def page(report: Report, tmp_path: Path) -> Path:
    path = tmp_path / "the report, \u00fcber.html"
    path.write_text(render(report), encoding="utf-8")
    return path


def test_the_page_renders_with_its_plots_and_logs_nothing(page: Path, report: Report) -> None:
    assert page.stat().st_size < MOST_BYTES
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


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("light", ["--window-size=1100,3000"]),
        ("dark", ["--window-size=1100,3000", "--blink-settings=preferredColorScheme=0"]),
        ("phone", ["--window-size=500,3000"]),
    ],
)
def test_screenshots(page: Path, tmp_path: Path, name: str, flags: list[str]) -> None:
    folder = Path(os.environ.get(ARTEFACTS, tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    shot = folder / f"report-{name}.png"
    browse(page, *flags, f"--screenshot={shot}")
    assert shot.stat().st_size > 20_000
