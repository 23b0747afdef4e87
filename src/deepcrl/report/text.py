"""Numbers as text, for people."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeGuard

MISSING = "—"
MINUS = "\N{MINUS SIGN}"


def finite(value: object) -> TypeGuard[float]:
    """Whether a value from a metrics row is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float | None, decimals: int | None = None) -> str:
    """A number as text, with thousands separators; by default integers in full, others to four significant digits."""
    if not finite(value):
        return MISSING
    if decimals is not None:
        text = f"{value:,.{decimals}f}"
    elif float(value).is_integer() and abs(value) < 1e15:
        text = f"{value:,.0f}"
    elif 1e-3 <= abs(value) < 1e6:
        text = f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
    else:
        text = f"{value:.3e}"
    return text.replace("-", MINUS)


def percent(share: float | None) -> str:
    return f"{number(100 * share, 1)}%" if finite(share) else MISSING


def metres(value: float | None) -> str:
    return f"{number(value, 2)} m" if finite(value) else MISSING


def steps(value: float) -> str:
    """A count on an axis: 250k, 1.5M."""
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{suffix}"
    return f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Wall-clock time: 8.2 s, 2 min 13 s, 1 h 05 min, 2 d 3 h."""
    if not finite(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = timedelta(seconds=round(seconds))
    hours, minutes, rest = whole.seconds // 3600, whole.seconds // 60 % 60, whole.seconds % 60
    if whole.days:
        return f"{whole.days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def aligned(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table for the terminal, columns padded to equal width."""
    widths = [max(len(row[k]) for row in (columns, *lines)) for k in range(len(columns))]
    return [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *lines)
    ]
