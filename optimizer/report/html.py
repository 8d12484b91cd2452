"""``report.html``: one file that opens offline, on a phone too, in light and dark."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import jinja2

from .. import text
from ..records import ChangeRecord, RefusalRecord, grouped
from . import plots
from .schema import Report

_TEMPLATES = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """The report as HTML; nothing in it is loaded from elsewhere."""
    return template("report.html.j2").render(
        report=report,
        names={model.path: model.name for model in report.models},
        recipe=_recipe_lines(report),
        text=text,
        bars=plots.bars(report.summary),
        pareto=plots.pareto(report.summary),
        errors=plots.error_by_module(report.modules),
        layer_map=plots.layer_map(report.layers),
        kernels=_kernels(report),
        time_by_kind=plots.time_by_kind(report.profile) if report.profile else None,
    )


@lru_cache
def template(name: str) -> jinja2.Template:
    """A page of ours, with the filters that all of them use."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": text.size,
        "percent": text.percent,
        "percent_interval": text.percent_interval,
        "points_interval": text.points_interval,
        "ms": text.milliseconds,
        "seconds": text.seconds,
        "times": text.times,
        "grouped_changes": _changes,
        "grouped_refusals": _refusals,
        "shell": shlex.join,
    }
    return environment.get_template(name)


def _changes(records: Iterable[ChangeRecord]) -> list[tuple[str, str]]:
    return grouped((record.what, record.where) for record in records)


def _refusals(records: Iterable[RefusalRecord]) -> list[tuple[str, str]]:
    return grouped((record.reason, record.where) for record in records)


def _kernels(report: Report) -> dict[str, dict[str, str]]:
    """What each layer runs on, by target and layer."""
    return {
        target: {layer.id: layer.kernel or layer.runs for layer in found.layers}
        for target, found in report.audit.items()
    }


def _recipe_lines(report: Report) -> list[str]:
    """The recipe in force, a line a key."""
    return [
        f"{section}.{key} = {value}"
        for section, options in report.recipe.items()
        for key, value in options.items()
        if value is not None
    ]
