"""Numbers as people read them, the same in tables and in the report."""

from __future__ import annotations

from ..runtime.speech import Interval
from ..runtime.validation.streaming import Drift
from ..runtime.validation.validate import ErrorRate


def size(count: float) -> str:
    """Bytes in decimal units: ``13.4 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction as ``5.43 %``."""
    return f"{100 * fraction:.{digits}f} %"


def points(fraction: float) -> str:
    """A difference of rates as ``+0.13``, in percentage points."""
    return f"{100 * fraction:+.2f}"


def error_kinds(errors: ErrorRate) -> str:
    """Errors by kind: ``30 substituted, 8 deleted, 4 inserted``."""
    return (
        f"{errors.substitutions} substituted, {errors.deletions} deleted, "
        f"{errors.insertions} inserted"
    )


def percent_interval(interval: Interval) -> str:
    """A rate's interval as ``3.9 – 7.1 %``."""
    return f"{100 * interval.low:.1f} – {100 * interval.high:.1f} %"


def points_interval(interval: Interval) -> str:
    """A difference's interval as ``-0.3 to +0.5``, in percentage points."""
    return f"{points(interval.low)} to {points(interval.high)}"


def milliseconds(value: float) -> str:
    """Milliseconds with three digits: ``1.23 ms``, ``120 ms``."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} ms"


def seconds(value: float) -> str:
    """Seconds with one decimal, minutes above two of them."""
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def times(ratio: float) -> str:
    """A ratio as ``1.52×``."""
    return f"{ratio:.2f}×"


def decibels(ratio: float | None) -> str:
    """A signal over its error: ``43.2 dB``; none is no error."""
    return "equal" if ratio is None else f"{ratio:.1f} dB"


def rate(macs: float) -> str:
    """Multiply-accumulates a second: ``67 GMAC/s``."""
    return f"{macs / 1e9:.{0 if macs >= 1e10 else 1}f} GMAC/s"


def count(number: int) -> str:
    """A count with three digits: ``13.2 M``."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return str(number)


def drift(found: Drift | None) -> str:
    """Whether errors of the scores grow along a stream, in a sentence."""
    if found is None:
        return "The stream is too short to tell whether errors grow along it."
    verdict = "they grow" if found.grows else "they do not grow"
    return (
        f"Errors of the scores: {percent(found.first, 3)} of their size in the first chunks, "
        f"{percent(found.last, 3)} in the last; by the noise of chunks "
        f"(±{percent(found.noise, 3)}) {verdict}."
    )
