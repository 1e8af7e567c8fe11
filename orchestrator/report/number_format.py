"""How numbers are written in reports: digits that fit the figures beside them, and units that a person reads."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, isfinite, log10

from orchestrator.results.statistics.estimate import Estimate

NOTHING = "–"


def form(values: Iterable[float | None], log: bool = False) -> str:
    """One format for figures that stand beneath each other: three digits of the largest; whole numbers as such; powers of ten for small
    figures, and for those of a logarithmic scale that differ much."""
    sizes = [abs(value) for value in values if value is not None and isfinite(value) and value]
    if not sizes:
        return ".2f"
    most = max(sizes)
    if not log and most >= 10 and all(size.is_integer() for size in map(float, sizes)):
        return ",.0f"
    if most < 1e-3 or (log and (most / min(sizes) >= 100 or most < 0.1)):
        return ".2e"
    if most >= 1000:
        return ",.0f"
    return f".{min(4, max(0, 2 - floor(log10(most))))}f"


def figure(value: float | None, form: str) -> str:
    """`0.71`, `–` where there is none, `never` where it is infinite."""
    if value is None:
        return NOTHING
    if not isfinite(value):
        return "never" if value > 0 else str(value)
    return plain(f"{value:{form}}")


def plain(text: str) -> str:
    """`-0.00` is `0.00`."""
    return text.removeprefix("-") if text.startswith("-") and not text.strip("-0.,") else text


def alone(value: float | None) -> str:
    """A figure by itself, with the digits that it deserves."""
    if value is not None and isfinite(value) and float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return figure(value, form([value]))


def interval(found: Estimate, form: str) -> str:
    """`[0.65, 0.78]`; the points where there are too few runs for an interval: `0.65, 0.70, 0.78`."""
    if found.interval is not None:
        low, high = (figure(end, form) if isfinite(end) else "∞" for end in found.interval)
        return f"[{low}, {high}]"
    return ", ".join(figure(point, form) for point in found.points) if found.points else NOTHING


def size(count: float | None) -> str:
    """`512 B`, `1.5 KiB`, `3.2 MiB`."""
    if count is None:
        return NOTHING
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """`0.42 s`, `31 s`, `4 min 05 s`, `2 h 10 min`."""
    if seconds is None:
        return NOTHING
    if not isfinite(seconds):
        return "never"
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def counted(count: int, noun: str, nouns: str = "") -> str:
    """`1 run`, `4 runs`, `no runs`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}" if count else f"no {nouns or noun + 's'}"
