"""What an environment server counts, and what of it outlives the process: steps, episodes, substitutions, and when evaluations are due."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from env_server.contracts import Outcome
from env_server.statistics import EpisodeStatistics
from protocols.goal_space import GoalSpace
from protocols.messages import Flag
from protocols.stepping import Closed


class Tally:
    """Counts of one run. An evaluation is due after every `every` training episodes."""

    def __init__(self, space: GoalSpace | None, every: int) -> None:
        self.statistics = EpisodeStatistics(space)
        self.steps = 0
        """training steps of all copies together"""
        self._every = every
        self._next_evaluation = every
        self._played = 0
        self._last_report = time.monotonic()
        self._joint_steps = 0
        self._substituted = 0
        self._substituted_episodes: set[int] = set()

    @property
    def episodes(self) -> int:
        """Training episodes that ended."""
        return self.statistics.training

    def stood_in(self, agent: str, last: Outcome) -> None:
        """Somebody who plays is late: its action is substituted in all episodes of which it is a member."""
        playing = (last.agents[agent].flags & Flag.MEMBER) != 0
        self._substituted_episodes.update(last.episode[playing].tolist())

    def stepped(self, before: Outcome, after: Outcome) -> None:
        """All copies were stepped. The first observation of an episode is no step of it, and what is played to evaluate is no training:
        else the budget of a run would depend on how often it is evaluated."""
        played = (after.episode >= 0) & (after.episode == before.episode)
        evaluation = np.bitwise_or.reduce([batch.flags for batch in after.agents.values()]) & Flag.EVALUATION
        self.steps += int(np.count_nonzero(played & (evaluation == 0)))
        self._played += int(np.count_nonzero(played))

    def closed(self, closed: Closed) -> None:
        """A tick was played."""
        self._substituted += len(closed.late)
        self._joint_steps += len(closed.actions) + len(closed.late)

    def evaluation_due(self) -> bool:
        """Whether an evaluation became due since this was asked last: one, however many multiples of `every` were passed, since the
        episodes of many copies may end together."""
        if self.episodes < self._next_evaluation:
            return False
        self._next_evaluation = (self.episodes // self._every + 1) * self._every
        return True

    # --- figures ----------------------------------------------------------------------------------------------------------------------

    def speed(self, now: float) -> float:
        """Steps per real second since the last report, those of evaluations too."""
        return self._played / max(now - self._last_report, 1e-9)

    def values(self) -> dict[str, float]:
        """Figures since the last call, and counts since the beginning."""
        return self.statistics.window() | {
            "steps": float(self.steps),
            "env.substituted": self._substituted / max(1, self._joint_steps),
            "episodes.substituted": float(len(self._substituted_episodes)),
            "episodes.peer_lost": float(self.statistics.peer_lost),
        }

    def reported(self, now: float) -> None:
        """A report was written."""
        self._played, self._last_report = 0, now

    # --- what outlives the process ------------------------------------------------------------------------------------------------------

    def numbers(self) -> dict[str, int]:
        """What the next process goes on from."""
        return {
            "episodes": self.episodes,
            "steps": self.steps,
            "next_evaluation": self._next_evaluation,
            "peer_lost": self.statistics.peer_lost,
        }

    def count_on(self, numbers: Mapping[str, int]) -> None:
        """Go on from `numbers` of an earlier process."""
        self.statistics.training, self.steps = int(numbers["episodes"]), int(numbers["steps"])
        self.statistics.peer_lost = int(numbers.get("peer_lost", 0))
        self._next_evaluation = int(numbers["next_evaluation"])
