"""How far apart the agents' vectors (parameters, or sums of statistics) are, measured from small random projections that they send at
averaging rounds, and of their parameters at moments of the run too: behind a cut, or with stragglers, there are few rounds that all have
in common.

Agent i sends the sketch u_i = R x_i of its vector x_i (`protocols.averaging.projection_sketch`; R is the same at all agents) before and
after the averaging of a round. Since E |R v|^2 = |v|^2 for every v,

    D = sqrt( mean_i |u_i - mean_j u_j|^2 )

estimates sqrt(mean_i |x_i - mean_j x_j|^2), the disagreement, with relative standard error of about 1 / sqrt(2 s) for two agents and less
for more, s being the length of a sketch. The contraction of a round is D_after / D_before; for synchronous averaging with the matrix W it
is at most |W - J/n|_2. Beside D there are the distance of the agent that is nearest to the mean, and the length |mean_j u_j| of the mean,
by which they are divided where only the direction of what is averaged has a meaning.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.run_server.metrics.simultaneous_reports import SimultaneousReports
from protocols.averaging.projection_sketch import disagreement

Sketch = NDArray[np.float64]

PENDING_ROUNDS = 64
"""newest rounds that may still wait for agents"""


@dataclass(frozen=True)
class RoundDisagreement:
    """Disagreement over the agents of one averaging round; `contraction` is None when there was none to begin with."""

    round: int
    before: float
    after: float
    agents: int
    least: float
    """distance of the agent that is nearest to the mean, after the round"""
    length: float
    """of the mean, after the round"""
    at: float
    """time at which the last of the agents had done it"""

    @property
    def contraction(self) -> float | None:
        """after / before: the factor by which the round reduced the disagreement; None where it was 0 before."""
        return self.after / self.before if self.before > 0 else None


@dataclass(frozen=True)
class ModelDisagreement:
    """Disagreement of the parameters that are averaged, as they were after so many environment steps and training episodes; `at`: when the
    last agent sent its own."""

    steps: int
    episodes: int
    value: float
    at: float


@dataclass
class ModelTracker:
    """Collects sketches `[s]` of the agents' parameters at moments of the run."""

    _moments: SimultaneousReports[Sketch] = field(default_factory=SimultaneousReports)

    def add(self, agent: str, steps: int, episodes: int, sketch: Sketch, at: float) -> None:
        """Take one agent's sketch, made at the time `at` after so many steps and episodes. `ValueError` for another shape than `[s]`,
        s >= 1, or than that of other agents. Repeated and older ones change nothing."""
        if sketch.ndim != 1 or not len(sketch) or sketch.dtype != np.float64:
            raise ValueError(f"a sketch is [s] of f8, not {list(sketch.shape)} of {sketch.dtype}")
        if any(other.shape != sketch.shape for other in self._moments.newest()):
            raise ValueError("sketches of different lengths")
        self._moments.add(agent, steps, episodes, at, sketch.copy())

    def complete(self, living: Collection[str]) -> list[ModelDisagreement]:
        """Disagreement wherever all living agents (at least two) have reported, as `SimultaneousReports.complete`."""
        return [
            ModelDisagreement(moment.steps, moment.episodes, disagreement(np.stack(moment.contents)), moment.at)
            for moment in self._moments.complete(living)
        ]

    def forget(self, agent: str) -> None:
        """The agent starts anew: its open reports are withdrawn."""
        self._moments.forget(agent)


@dataclass
class DisagreementTracker:
    """Collects sketches `[2, s]` (row 0 before, row 1 after averaging) and closes a round when all living agents have reported."""

    _rounds: OrderedDict[int, dict[str, Sketch]] = field(default_factory=OrderedDict)
    _at: dict[int, float] = field(default_factory=dict)
    _closed: int = -1

    def add(self, agent: str, round_: int, sketch: Sketch, at: float) -> None:
        """Take one agent's sketch, made at the time `at`. `ValueError` for another shape than `[2, s]`, s >= 1, or than that of the round's
        other agents. Rounds that were closed already and repeated reports change nothing; rounds that wait too long are dropped."""
        if sketch.ndim != 2 or sketch.shape[0] != 2 or sketch.shape[1] < 1 or sketch.dtype != np.float64:
            raise ValueError(f"a sketch is [2, s] of f8, not {list(sketch.shape)} of {sketch.dtype}")
        if round_ <= self._closed:
            return
        reports = self._rounds.setdefault(round_, {})
        if reports and next(iter(reports.values())).shape != sketch.shape:
            raise ValueError(f"round {round_}: sketches of different lengths")
        if agent not in reports:
            reports[agent] = sketch.copy()
            self._at[round_] = max(at, self._at.get(round_, at))
        while len(self._rounds) > PENDING_ROUNDS:
            self._drop(min(self._rounds))

    def complete(self, living: Collection[str]) -> list[RoundDisagreement]:
        """Rounds in which every living agent (at least two) has reported, oldest first; each is handed out once. Reports of agents that
        have died since count in the rounds they took part in."""
        done: list[RoundDisagreement] = []
        if len(living) < 2:
            return done
        for round_ in sorted(r for r, reports in self._rounds.items() if reports.keys() >= set(living)):
            sketches = np.stack([sketch for _, sketch in sorted(self._rounds.pop(round_).items())])
            before, after = sketches[:, 0], sketches[:, 1]
            mean = after.mean(axis=0)
            least, length = float(np.linalg.norm(after - mean, axis=1).min()), float(np.linalg.norm(mean))
            at = self._at.pop(round_)
            done.append(RoundDisagreement(round_, disagreement(before), disagreement(after), len(sketches), least, length, at))
        if done:
            self._closed = max(self._closed, done[-1].round)
            for old in [r for r in self._rounds if r <= self._closed]:
                self._drop(old)
        return done

    def forget(self, agent: str) -> None:
        """The agent starts anew: its reports of open rounds are withdrawn, since its round counter may go back."""
        for round_ in list(self._rounds):
            self._rounds[round_].pop(agent, None)
            if not self._rounds[round_]:
                self._drop(round_)

    def _drop(self, round_: int) -> None:
        del self._rounds[round_]
        del self._at[round_]
