"""A figure of several runs with its interval, and the numbers of runs behind it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

from orchestrator.results.statistics.runs_table import PendingValue

LEAST = 5
"""runs below which points are shown in the place of an interval: of four values a bootstrap knows 35 different samples, no more"""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """`value`: None without any run. `interval`: None where there are too few runs for one, or it can't be computed; then `points` tell
    what there is. `n`: runs behind it, `missing`: runs of the group without a figure, each with the reason."""

    value: float | None
    interval: tuple[float, float] | None
    n: int
    points: tuple[float, ...] = ()
    missing: tuple[str, ...] = ()
    confidence: float = CONFIDENCE

    @property
    def never(self) -> int:
        """Runs whose figure is infinite: what it tells of never came about."""
        return sum(point == inf for point in self.points)

    @property
    def failed(self) -> int:
        """Runs of the group that have ended without a figure."""
        return len(self.missing) - self.to_come

    @property
    def to_come(self) -> int:
        """Runs of the group that have not ended."""
        return sum(isinstance(reason, PendingValue) for reason in self.missing)

    def contains(self, value: float) -> bool | None:
        """Whether the interval contains a value; None where there is no interval."""
        return None if self.interval is None else self.interval[0] <= value <= self.interval[1]

    def text(self, form: str = ".2f") -> str:
        """`0.97 [0.94, 1.00] n=8`, `0.97 (0.94, 0.97, 0.99) n=3`, `– n=0`; with ` of 9` where a run has no figure (yet)."""
        count = f"n={self.n}" + (f" of {self.n + len(self.missing)}" if self.missing else "")
        if self.value is None:
            return f"– {count}"
        value = _word(self.value, form)
        if self.interval is not None:
            return f"{value} [{self.interval[0]:{form}}, {self.interval[1]:{form}}] {count}"
        points = ", ".join(_word(point, form) for point in self.points)
        return f"{value} ({points}) {count}" if len(self.points) > 1 else f"{value} {count}"

    def record(self) -> dict[str, object]:
        """For a JSON file, which knows no infinity: such ends are the words `inf` and `-inf`."""
        return {
            "value": plain(self.value),
            "interval": [plain(end) for end in self.interval] if self.interval else None,
            "confidence": self.confidence,
            "n": self.n,
            "failed": self.failed,
            "to_come": self.to_come,
            "missing": list(self.missing),
            "points": [plain(point) for point in self.points],
        }


def _word(value: float, form: str) -> str:
    return "never" if value == inf else f"{value:{form}}"


def plain(value: float | None) -> float | str | None:
    """For a JSON file: what is infinite is the word `inf` or `-inf`."""
    return value if value is None or isfinite(value) else str(value)
