"""Several results side by side as a page that opens offline."""

from __future__ import annotations

from . import plots
from .comparison import Comparison
from .html import template
from .schema import SummaryRow


def render_comparison(comparison: Comparison) -> str:
    """The comparison as HTML; nothing in it is loaded from elsewhere."""
    rows = _on_one_clock([row.summary for row in comparison.rows])
    return template("compare.html.j2").render(
        comparison=comparison, bars=plots.bars(rows), pareto=plots.pareto(rows)
    )


def _on_one_clock(rows: list[SummaryRow]) -> list[SummaryRow]:
    """Rows whose latency is the first original's over the speed-up against their own.

    The machine may have been slower in one run than in another; a run measures its models in turn.
    """
    original = rows[0].p50_ms
    if original is None:
        return rows
    return [
        row
        if row.p50_ms is None or row.provider != rows[0].provider
        else row.model_copy(update={"p50_ms": original / (row.faster or 1)})
        for row in rows
    ]
