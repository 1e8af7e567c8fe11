"""Numbers, sizes and times in words, for terminals and reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import floor, isfinite, log10
from typing import TYPE_CHECKING

from orchestrator.results.run_directories import parse_time

if TYPE_CHECKING:
    from orchestrator.results.statistics.estimate import Estimate

NOTHING = "–"
"""a value that is missing, in reports"""
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.:-=+*#"


def sparkline(values: Sequence[float], width: int = 6, ascii_only: bool = False) -> str:
    """The newest `width` values as a bar of characters between their smallest and largest; equal values lie in the middle."""
    values = list(values)[-width:]
    if len(values) < 2:
        return ""
    marks = _ASCII if ascii_only else _BLOCKS
    low, high = min(values), max(values)
    if high == low:
        return marks[3] * len(values)
    return "".join(marks[round((v - low) / (high - low) * (len(marks) - 1))] for v in values)


def count(number: float | None) -> str:
    """Whole number in groups of three: `12 040`."""
    return "-" if number is None else f"{round(number):,}".replace(",", " ")


def decimal(number: float | None, digits: int = 2) -> str:
    """So many decimals, none where the number is large; three significant digits where it is small: `0.0134`."""
    if number is None:
        return "-"
    if 0 < abs(number) < 0.1:
        return f"{number:.3g}" if abs(number) >= 1e-3 else small(number)
    return f"{number:.{digits}f}" if abs(number) < 1000 else count(number)


def small(number: float | None) -> str:
    """Two digits and an exponent: `3.1e-04`."""
    return "-" if number is None else f"{number:.1e}"


def form(values: Iterable[float | None], log: bool = False) -> str:
    """One format for numbers in one column: three digits of the largest; whole numbers as such; powers of ten for small
    numbers, and for those of a logarithmic scale that differ much."""
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
    """A value in the format `form`, for example `0.71`; `–` for None, `never` where it is infinite."""
    if value is None:
        return NOTHING
    if not isfinite(value):
        return "never" if value > 0 else str(value)
    return plain(f"{value:{form}}")


def from_to(values: Sequence[float]) -> str:
    """`from 0.12 to 0.83`: the first and the last value."""
    ends = float(values[0]), float(values[-1])
    return "from {} to {}".format(*(figure(end, form(ends)) for end in ends))


def plain(text: str) -> str:
    """The text of a number without the sign of a negative zero: `-0.00` becomes `0.00`."""
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


def size(amount: float | None, nothing: str = "-") -> str:
    """Bytes as text in binary units, for example `812 B`, `14.2 KiB`, `1.1 GiB`; `nothing` for None."""
    if amount is None:
        return nothing
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """A number with its noun in singular or plural: `1 run`, `4 runs`, `no runs`, `2 topologies`."""
    if not nouns:
        nouns = noun[:-1] + "ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else noun if noun.endswith("s") else noun + "s"
    return f"{number:,} {noun if number == 1 else nouns}" if number else f"no {nouns}"


def elapsed(seconds: float | None) -> str:
    """Seconds as a clock, for example `0:41`, `12:05`, `3:04:10`; `-` where they are unknown or infinite."""
    if seconds is None or not isfinite(seconds):
        return "-"
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration(seconds: float | None) -> str:
    """Seconds as text with units, for example `0.42 s`, `31 s`, `4 min 05 s`, `2 h 10 min`; a dash for None."""
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


def about(seconds: float) -> str:
    """Rounded seconds as text with units, for example `42 s`, `1 min 42 s`, `12 min`, `2 h 10 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def clock(time: str | datetime | None, milliseconds: bool = False) -> str:
    """Time of day in the local zone."""
    moment = parse_time(time) if not isinstance(time, datetime) else time
    if moment is None:
        return "--:--:--"
    local = moment.astimezone()
    return local.strftime("%H:%M:%S") + (f".{local.microsecond // 1000:03d}" if milliseconds else "")


def day_and_time(moment: datetime | None) -> str:
    """`14:02:11` today, `yesterday`, or the date."""
    if moment is None:
        return "-"
    local, today = moment.astimezone(), datetime.now().astimezone()
    days = (today.date() - local.date()).days
    if days == 0:
        return local.strftime("%H:%M:%S")
    return "yesterday" if days == 1 else local.strftime("%Y-%m-%d")
