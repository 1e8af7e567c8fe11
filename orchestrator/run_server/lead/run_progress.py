"""How far a run is on its way to `until`, from the environment server's counters and the time since all nodes were up."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.config.configuration import Until


@dataclass
class _Counter:
    """A count that goes on when its owner starts again, whether the owner has kept it or begins at zero."""

    total: int = 0
    lost: int = 0
    """what a new incarnation had not kept"""
    _base: int = 0
    _incarnation: int = 0

    def update(self, incarnation: int, value: int) -> None:
        if incarnation != self._incarnation:
            # A server with a checkpoint goes on from a count of seconds ago; one without it from (nearly) zero.
            self._base = self.total if 2 * value < self.total else 0
            if self._incarnation:
                self.lost += max(0, self.total - self._base - value)
            self._incarnation = incarnation
        self.total = max(self.total, self._base + value)


class RunProgress:
    """Episodes and steps so far, the share of the way, and when the end is due."""

    def __init__(self, until: Until, before: float = 0.0) -> None:
        """`before`: seconds of training before the run was interrupted."""
        self._until = until
        self._before = before
        self._episodes = _Counter()
        self._steps = _Counter()
        self._began: float | None = None
        self._ended: float | None = None

    @property
    def episodes(self) -> int:
        """Finished training episodes."""
        return self._episodes.total

    @property
    def episodes_lost(self) -> int:
        """Finished training episodes that a restarted environment server had not kept."""
        return self._episodes.lost

    @property
    def steps(self) -> int:
        """Steps of environment copies."""
        return self._steps.total

    def begin(self, now: float) -> float:
        """All nodes are up: training starts. The time at which it had begun if it had never been interrupted."""
        self._began = now
        return now - self._before

    def end(self, now: float) -> None:
        """Training is over; the share stays as it is."""
        if self._ended is None:
            self._ended = now

    def count(self, incarnation: int, episodes: int | None = None, steps: int | None = None) -> None:
        """Counters as the environment server's incarnation reports them."""
        if episodes is not None:
            self._episodes.update(incarnation, episodes)
        if steps is not None:
            self._steps.update(incarnation, steps)

    def seconds(self, now: float) -> float:
        """Training time so far."""
        return self._before if self._began is None else self._before + (now if self._ended is None else self._ended) - self._began

    def _limits(self, now: float) -> list[tuple[float, float, str]]:
        """(what is done, the limit, what is done in words) for every limit of `until`."""
        until, seconds = self._until, self.seconds(now)
        done = (
            (self.episodes, until.episodes, f"{self.episodes} episodes"),
            (self.steps, until.steps, f"{self.steps} steps"),
            (seconds, until.time, f"{until.time:g} s of training" if until.time is not None else ""),
        )
        return [(value, limit, text) for value, limit, text in done if limit is not None]

    def share(self, now: float) -> float:
        """0 to 1: the largest share of any of the limits."""
        return min(1.0, max((value / limit if limit > 0 else 1.0 for value, limit, _ in self._limits(now)), default=0.0))

    def left(self, now: float) -> float | None:
        """Seconds that remain if it goes on as so far; None while that is unknown."""
        share = self.share(now)
        if share >= 1.0:
            return 0.0
        return self.seconds(now) * (1.0 - share) / share if share > 0 else None

    def reached(self, now: float) -> str | None:
        """Which limit is reached, in words, or None."""
        reached = (text for value, limit, text in self._limits(now) if value >= limit)
        return next(reached, None) if self._began is not None else None
