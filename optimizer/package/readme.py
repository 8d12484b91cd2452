"""The README of a package."""

from __future__ import annotations

from pathlib import Path

import jinja2

from ..text import milliseconds, percent, size
from .manifest import PackageManifest

_TEMPLATES = Path(__file__).parent / "templates"
_TITLES = {
    "bundle": "Speech recogniser",
    "ort": "Speech model in ORT format",
    "sherpa-onnx": "Speech model for sherpa-onnx",
}


def render_readme(manifest: PackageManifest, usage: str) -> str:
    """Markdown for people who got the package and nothing else."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    template = environment.get_template("README.md.j2")
    return template.render(
        title=_TITLES[manifest.package],
        manifest=manifest,
        usage=usage,
        size=size,
        percent=percent,
        milliseconds=milliseconds,
    )
