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

Reports at one moment of a run, counted in environment steps, are those of the agents' parameters and of their choices in the convention.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.projection_sketch import disagreement
from protocols.conversations.signalling_convention import UNKNOWN, Choices, accuracy

PENDING_ROUNDS = 512
"""newest rounds that may still wait for agents: after a time without a run server each agent sends those of that time"""
PENDING_REPORTS = 64
"""newest reports of an agent that may still wait for others"""

Sketch = NDArray[np.float64]
Content = TypeVar("Content")


class _Report(NamedTuple, Generic[Content]):
    steps: int
    episodes: int
    at: float
    content: Content


@dataclass(frozen=True)
class MomentValue:
    """What was computed from the reports of `agents` agents after so many environment steps and training episodes; `at`: when the last of
    them sent its own."""

    steps: int
    episodes: int
    value: float
    agents: int
    at: float


class SimultaneousReports(ABC, Generic[Content]):
    """Collects reports, and closes them when all living agents have one.

    Let T be the latest of the agents' oldest open reports: the newest report up to T of each counts. Under the logical clock all agents
    report at the same step, so that it does not depend on which report comes first; under the wall clock no wait is long.
    """

    def __init__(self) -> None:
        self._open: dict[str, deque[_Report[Content]]] = {}

    @abstractmethod
    def check(self, content: Content, others: Iterator[Content]) -> None:
        """`ValueError` for a report that is malformed, or does not fit those of `others`."""

    @abstractmethod
    def value(self, contents: Sequence[Content]) -> float:
        """What is computed from the reports of one moment, by the agents' names' order."""

    def add(self, agent: str, steps: int, episodes: int, content: Content, at: float) -> None:
        """Take one report, made at the time `at` after so many steps and episodes; `ValueError` as of `check`. Repeated and older ones
        change nothing."""
        self.check(content, (queue[-1].content for queue in self._open.values() if queue))
        queue = self._open.setdefault(agent, deque(maxlen=PENDING_REPORTS))
        if not queue or steps > queue[-1].steps:
            queue.append(_Report(steps, episodes, at, content))

    def complete(self, living: Collection[str]) -> list[MomentValue]:
        """Moments of which all living agents (at least two) have reported, oldest first; each is handed out once. Reports of agents that
        have left since count where they were made."""
        done: list[MomentValue] = []
        while len(living) > 1 and all(self._open.get(agent) for agent in living):
            end = max(self._open[agent][0].steps for agent in living)
            reports = []
            for _, queue in sorted(self._open.items()):
                newest = None
                while queue and queue[0].steps <= end:
                    newest = queue.popleft()
                if newest is not None:
                    reports.append(newest)
            episodes, at = max(report.episodes for report in reports), max(report.at for report in reports)
            done.append(MomentValue(end, episodes, self.value([report.content for report in reports]), len(reports), at))
        return done

    def forget(self, agent: str) -> None:
        """The agent starts anew: its open reports are withdrawn."""
        self._open.pop(agent, None)


class ModelTracker(SimultaneousReports[Sketch]):
    """Disagreement of the parameters that are averaged, from sketches `[s]` of the agents' parameters at moments of the run."""

    def check(self, content: Sketch, others: Iterator[Sketch]) -> None:
        """A sketch is `[s]`, s >= 1, as long as those of other agents."""
        if content.ndim != 1 or not len(content) or content.dtype != np.float64:
            raise ValueError(f"a sketch is [s] of f8, not {list(content.shape)} of {content.dtype}")
        if any(other.shape != content.shape for other in others):
            raise ValueError("sketches of different lengths")

    def value(self, contents: Sequence[Sketch]) -> float:
        """Their disagreement: see the module."""
        return disagreement(np.stack(contents))


class ConventionTracker(SimultaneousReports[tuple[Choices, Choices]]):
    """Accuracy of the population's convention, from the agents' choices `leading[|G|]` and `reading[|M|]`, i4, -1 for none."""

    def check(self, content: tuple[Choices, Choices], others: Iterator[tuple[Choices, Choices]]) -> None:
        """Leading and reading choices must fit each other, and those of other agents in number."""
        leading, reading = content
        shapes = (leading.shape, reading.shape)
        if any(c.ndim != 1 or not len(c) or c.dtype != np.int32 for c in (leading, reading)):
            raise ValueError(f"choices are [|G|] and [|M|] of i4, not {shapes[0]} of {leading.dtype} and {shapes[1]} of {reading.dtype}")
        if any(c.min() < UNKNOWN or c.max() >= len(other) for c, other in ((leading, reading), (reading, leading))):
            raise ValueError(f"a choice outside of {len(reading)} messages or {len(leading)} goals")
        if any((one.shape, other.shape) != shapes for one, other in others):
            raise ValueError("another number of goals or messages than other agents have")

    def value(self, contents: Sequence[tuple[Choices, Choices]]) -> float:
        """Mean over ordered pairs of agents: one leads, the other reads."""
        return float(np.mean([accuracy(leading, reading) for (leading, _), (_, reading) in permutations(contents, 2)]))


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
