"""What a simulation has shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from protocols.simulation.simulated_averaging import PopulationPoint


@dataclass
class SimulatedEpisodes:
    """What came of the episodes."""

    played: int
    negotiated: int
    complete: int
    """all members received the traces of all others"""
    seconds: float
    """median from the offer to the last trace"""


@dataclass
class SimulationOutcome:
    """What a simulation has shown. Disagreement and errors are shares of the disagreement at the start."""

    agents: int
    edges: int
    topology: str
    mode: str
    seed: int
    dimension: int
    tolerance: float
    agreed: bool
    rounds: float
    """closed rounds of each agent, in the mean, when they agreed, or at the end"""
    predicted: int | None
    """rounds without faults, from the contraction of one; None: never"""
    contraction: float
    seconds: float
    """of virtual time"""
    disagreement: float
    error: float
    """distance of the mean from that at the start"""
    mass: float
    """what push-sum's invariant is off by, as a share of the whole: 0 but for rounding; for other modes the `error`"""
    messages: int
    """sent until they agreed, or to the end; so are `bytes`"""
    bytes: int
    missing: float
    """neighbours that did not come, for each closed round"""
    retries: int
    lost: dict[str, int]
    """messages by what became of them"""
    events: int
    real: float
    """seconds that the simulation took"""
    died: int
    """processes that ended"""
    episodes: SimulatedEpisodes | None
    arrays: bool
    """whether synchronous rounds were computed as arrays, and not message by message"""
    curve: list[PopulationPoint] = field(repr=False)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values; the curve as lists."""
        values = {name: value for name, value in vars(self).items() if name != "curve"}
        values["episodes"] = vars(self.episodes) if self.episodes else None
        curve = {name: [getattr(point, name) for point in self.curve] for name in ("rounds", "time", "disagreement", "error")}
        return {**values, "curve": curve}
