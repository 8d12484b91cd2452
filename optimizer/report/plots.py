"""The report's plots: SVG in the page's own colours, for light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...runtime.profile.modules import ModuleProfile
from ...runtime.validation.layerwise import ModuleDifference
from ..text import milliseconds, size
from .layers import LayerRecord
from .schema import ORIGINAL, SummaryRow

#: Colours stand for the page's variables until the SVG is written; matplotlib takes no variables.
_INK, _BACK, _BAR, _ORIGINAL = "#010101", "#020202", "#030303", "#040404"
_KINDS = ("#050501", "#050502", "#050503", "#050504", "#050505", "#050506", "#050507", "#050508")
_VARIABLES = {
    _INK: "ink", _BACK: "back", _BAR: "bar", _ORIGINAL: "bar0",
    **{colour: f"kind{index}" for index, colour in enumerate(_KINDS)},
}  # fmt: skip
_INCHES_WIDE = 5.6
#: What is nearer than this is a rounding of float32.
_MOST_DB = 110.0
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def bars(rows: Sequence[SummaryRow]) -> str:
    """Size and median latency of every model, shorter is better."""
    timed = [row for row in rows if row.p50_ms is not None]
    panels = [("size", [(r.name, float(r.bytes), size(r.bytes)) for r in rows])]
    if timed:
        values = [(r.name, r.p50_ms or 0.0, milliseconds(r.p50_ms or 0.0)) for r in timed]
        panels.append(("median latency", values))

    def draw(figure: Figure) -> None:
        for axes, (title, values) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            names, lengths, shown = zip(*values, strict=True)
            colours = [_ORIGINAL if name == ORIGINAL else _BAR for name in names]
            drawn = axes.barh(names, lengths, color=colours, height=0.6)
            axes.bar_label(drawn, shown, padding=3)
            axes.set_title(title, loc="left")
            _only_names(axes)
            axes.set_xlim(0, 1.35 * max(lengths))

    return _svg(draw, 0.5 + 0.32 * len(rows), "bars")


def pareto(rows: Sequence[SummaryRow]) -> str | None:
    """Word error rate over median latency, with intervals; None where one was not measured."""
    points = [r for r in rows if r.wer is not None and r.wer_interval and r.p50_ms is not None]
    if len(points) < 2:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, row in enumerate(points):
            assert row.wer is not None and row.wer_interval is not None and row.p50_ms is not None
            wer, interval = 100 * row.wer, row.wer_interval
            colour = _ORIGINAL if row.name == ORIGINAL else _BAR
            axes.errorbar(
                row.p50_ms,
                wer,
                yerr=[[wer - 100 * interval.low], [100 * interval.high - wer]],
                fmt="o",
                color=colour,
                capsize=3,
                # The area of a disc is the size of the file.
                markersize=14 * (row.bytes / max(p.bytes for p in points)) ** 0.5,
            )
            # Neighbours' names stand above one another, so that equal models stay readable.
            place = (8, 5 + 11 * (index % 3))
            axes.annotate(
                row.name, (row.p50_ms, wer), xytext=place, textcoords="offset points", color=_INK
            )
        axes.set_xlabel("median latency, ms (left is better)")
        axes.set_ylabel("word error rate, % (low is better)")
        axes.set_xlim(0, 1.25 * max(p.p50_ms or 0.0 for p in points))
        axes.set_ylim(bottom=0)

    return _svg(draw, 3.0, "pareto")


def error_by_module(models: Mapping[str, Sequence[ModuleDifference]]) -> str | None:
    """Signal over own error of every module, in the order of data; None without errors."""
    inexact = {
        name: [(index, m.own_db) for index, m in enumerate(found) if m.own_db is not None]
        for name, found in models.items()
    }
    if not any(inexact.values()):
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for colour, (name, places) in zip(_KINDS, inexact.items(), strict=False):
            shown = [(index, db) for index, db in places if db < _MOST_DB]
            axes.plot(*zip(*shown, strict=True), "o", color=colour, markersize=3.5, label=name)
        first = next(iter(models.values()))
        blocks = [i for i, m in enumerate(first) if i and _block(m.id) != _block(first[i - 1].id)]
        for place in blocks:
            axes.axvline(place - 0.5, color=_ORIGINAL, linewidth=0.4)
        axes.set_xticks([])
        axes.set_xlabel("modules in the order of data; lines part the blocks")
        axes.set_ylabel("signal over own error, dB (high is better)")
        axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=3)

    return _svg(draw, 2.6, "errors")


def layer_map(layers: Sequence[LayerRecord]) -> str | None:
    """Every layer as a cell in the colour of its format, as high as its weights are not zeros.

    A column a block; layers outside of blocks are as wide as all of them. None without layers.
    """
    if not layers:
        return None
    rows = {name: row for row, name in enumerate(dict.fromkeys(each.name for each in layers))}
    columns = 1 + max((each.block for each in layers if each.block is not None), default=0)
    formats = dict.fromkeys(map(_format, layers))
    colours = dict(zip(formats, cycle(_KINDS), strict=False))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for each in layers:
            left, width = (0, columns) if each.block is None else (each.block, 1)
            corner, colour = (left + 0.06, rows[each.name] + 0.1), colours[_format(each)]
            filled = 0.8 * (1 - each.zeros / max(each.weights, 1))
            frame = Rectangle(corner, width - 0.12, 0.8, fill=False, edgecolor=colour, lw=0.6)
            bottom = (corner[0], corner[1] + 0.8 - filled)
            axes.add_patch(frame)
            axes.add_patch(Rectangle(bottom, width - 0.12, filled, facecolor=colour, lw=0))
        axes.set_xlim(0, columns)
        axes.set_ylim(len(rows), 0)
        axes.set_yticks([row + 0.5 for row in rows.values()], list(rows))
        axes.set_xticks([0.5, columns - 0.5], ["0", str(columns - 1)])
        axes.set_xlabel("blocks")
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.tick_params(length=0)
        handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
        figure.legend(handles, list(colours), loc="outside lower left", frameon=False, ncols=2)

    return _svg(draw, 0.9 + 0.2 * (len(rows) + len(formats) / 2), "layers")


def _format(layer: LayerRecord) -> str:
    return f"{layer.format}, inputs {layer.activations}"


def _block(module: str) -> str:
    return module.rpartition(".")[0]


def time_by_kind(profiles: Mapping[str, ModuleProfile]) -> str:
    """Where each model's time goes: a bar a model, a colour a kind of module."""
    times = {
        name: {kind.id: kind.ms for kind in found.by_kind()} for name, found in profiles.items()
    }
    kinds = list(dict.fromkeys(kind for each in times.values() for kind in each))
    shown, rest = kinds[: len(_KINDS) - 1], kinds[len(_KINDS) - 1 :]
    names = list(times)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        left = [0.0] * len(names)
        for colour, kind in zip(_KINDS, [*shown, *(["rest"] if rest else [])], strict=False):
            members = rest if kind == "rest" else [kind]
            widths = [sum(times[name].get(each, 0.0) for each in members) for name in names]
            label = kind.replace("_", " ")
            axes.barh(names, widths, left=left, color=colour, height=0.6, label=label)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        _only_names(axes)
        for row, total in enumerate(left):
            axes.text(total, row, f"  {milliseconds(total)}", va="center")
        axes.set_xlim(0, 1.2 * max(left))
        axes.legend(
            loc="upper left", bbox_to_anchor=(0, -0.02), ncols=4, frameon=False, fontsize=8,
            handlelength=1, columnspacing=1,
        )  # fmt: skip

    return _svg(draw, 1.0 + 0.35 * len(names), "time")


def _only_names(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.xaxis.set_visible(False)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(left=False)


def _svg(draw: Callable[[Figure], None], inches_high: float, name: str) -> str:
    """A figure as an element for the page.

    Args:
        draw: Draws on the figure it is given.
        inches_high: Height; the width is that of the page.
        name: Keeps the ids of several plots of a page apart.
    """
    # Without a date and with ids that follow from the name, equal reports are equal files.
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(_INCHES_WIDE, inches_high), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # matplotlib numbers its groups from one in every figure.
    text = re.sub(
        r'id="(figure|axes|patch|text|line2d|xtick|ytick|legend|matplotlib)',
        rf'id="{name}-\1',
        text,
    )
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text.replace("<svg ", f'<svg class="plot" role="img" aria-label="{name}" ', 1).strip()
