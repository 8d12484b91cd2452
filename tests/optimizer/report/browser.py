"""A real browser for the pages that Confpress writes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: What the page of one result may weigh.
MOST_PAGE_BYTES = 5_000_000
#: Where screenshots are kept; without it, in the test's own folder.
ARTEFACTS = "CONFPRESS_ARTEFACTS"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), None)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
)  # fmt: skip
#: How a page is looked at, by name.
VIEWS = {
    "light": ("--window-size=1100,3000",),
    "dark": ("--window-size=1100,3000", "--blink-settings=preferredColorScheme=0"),
    "phone": ("--window-size=500,3000",),
}

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def browse(page: Path, *flags: str) -> str:
    """Opens a page; returns what the browser prints. Nothing may be logged about the page."""
    profile = page.parent / "browser profile"
    done = subprocess.run(
        [str(CHROMIUM), *_FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not console, console
    return done.stdout


def screenshot(page: Path, view: str, name: str) -> Path:
    """Keeps how a page looks as `<name>-<view>.png`."""
    folder = Path(os.environ.get(ARTEFACTS, page.parent)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shot = folder / f"{name}-{view}.png"
    browse(page, *VIEWS[view], f"--screenshot={shot}")
    return shot
