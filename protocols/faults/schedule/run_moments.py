"""Places and lengths in a run, in its four units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from protocols.faults.settings import RunSpan, TriggerPoint

Unit = Literal["time", "step", "episode", "round"]
UNITS: tuple[Unit, ...] = ("time", "step", "episode", "round")


@dataclass(frozen=True)
class RunMoment:
    """A place in the run or, as a length, a part of it: seconds, environment steps, episodes, or averaging rounds."""

    unit: Unit
    value: float


@dataclass
class RunPosition:
    """How far the run is; in a unit in which that is not known, -1."""

    time: float = 0.0
    step: float = 0
    episode: float = 0
    round: float = 0

    def of(self, unit: str) -> float:
        """The position in `unit`: `time` (seconds), `step`, `episode` or `round`."""
        return float(getattr(self, unit))

    def past(self, place: RunMoment) -> bool:
        """Whether the run has reached `place`, in the unit of `place`."""
        return self.of(place.unit) >= place.value


def moment(where: TriggerPoint | RunSpan) -> RunMoment:
    """A place or length of the settings that leaves nothing to chance."""
    unit = where.chosen.removesuffix("s")
    return RunMoment(cast(Unit, unit), float(getattr(where, where.chosen)))
