"""What an environment server counts, and what of it outlives the process: steps, episodes, substitutions, and when evaluations are due."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import TickResult
from env_server.metrics.episode_statistics import EpisodeStatistics
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.goal_space import GoalSpace

_PLAYS = Flag.MEMBER | Flag.TERMINATED | Flag.TRUNCATED | Flag.PARKED | Flag.OVER | Flag.EVALUATION
"""of these only `MEMBER` is set where the action that follows is one of training and counts: not in an episode that is over, nor after the
agent's part in it"""


class EpisodeCounters:
    """Counts of one run. An evaluation is due after every `every` training episodes."""

    def __init__(self, space: GoalSpace | None, every: int) -> None:
        self.statistics = EpisodeStatistics(space)
        self.steps = 0
        """training steps of all copies together"""
        self._every = every
        self._next_evaluation = every
        self._played = 0
        self._last_report = time.monotonic()
        self._actions = 0
        """of members in training episodes"""
        self._substituted = 0
        """those of them that a stand-in chose"""
        self._substituted_episodes = 0
        self._marked = np.zeros(0, np.int64)
        """the newest episode of each copy that is among them"""

    @property
    def episodes(self) -> int:
        """Training episodes that ended."""
        return self.statistics.training

    def stepped(self, before: TickResult, after: TickResult, acted: Collection[str]) -> None:
        """All copies were stepped, with actions of those who `acted` and stand-ins for the others, late or absent. The first observation of
        an episode is no step of it, and what is played to evaluate is no training: else the budget of a run would depend on how often it is
        evaluated."""
        flags_before, flags = (np.stack([outcome.agents[agent].flags for agent in after.agents]) for outcome in (before, after))
        played = (after.episode >= 0) & (after.episode == before.episode)
        evaluation = np.bitwise_or.reduce(flags) & Flag.EVALUATION
        self.steps += int(np.count_nonzero(played & (evaluation == 0)))
        self._played += int(np.count_nonzero(played))
        # Who is a member no more has lost its episode to its own death, and nothing was done in its stead.
        counts = ((flags_before & _PLAYS) == Flag.MEMBER) & ((flags & (Flag.MEMBER | Flag.FIRST)) == Flag.MEMBER)
        made_up = counts & np.array([agent not in acted for agent in after.agents])[:, None]
        self._actions += int(np.count_nonzero(counts))
        self._substituted += int(np.count_nonzero(made_up))
        self._mark(before.episode, made_up.any(axis=0))

    def _mark(self, episode: NDArray[np.int64], which: NDArray[np.bool_]) -> None:
        """In these copies something was done that its agent did not choose: count each episode once."""
        if self._marked.shape != episode.shape:
            self._marked = np.full(episode.shape, -1, np.int64)
        self._substituted_episodes += int(np.count_nonzero(which & (self._marked != episode)))
        self._marked[which] = episode[which]

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
            "env.substituted": self._substituted / max(1, self._actions),
            "episodes.substituted": float(self._substituted_episodes),
            "episodes.peer_lost": float(self.statistics.peer_lost),
        }

    def reported(self, now: float) -> None:
        """A report was written."""
        self._played, self._last_report = 0, now

    # --- what outlives the process ------------------------------------------------------------------------------------------------------

    def numbers(self) -> dict[str, int | list[float]]:
        """What the next process goes on from."""
        return {
            "episodes": self.episodes,
            "steps": self.steps,
            "next_evaluation": self._next_evaluation,
            "peer_lost": self.statistics.peer_lost,
            "actions": self._actions,
            "substituted": self._substituted,
            "substituted_episodes": self._substituted_episodes,
            "recent": self.statistics.recent,
        }

    def resume_from(self, numbers: Mapping[str, Any]) -> None:
        """Go on from `numbers` of an earlier process; earlier versions wrote fewer."""
        self.statistics.training, self.steps = int(numbers["episodes"]), int(numbers["steps"])
        self.statistics.peer_lost = int(numbers.get("peer_lost", 0))
        self._next_evaluation = int(numbers["next_evaluation"])
        self._actions, self._substituted = int(numbers.get("actions", 0)), int(numbers.get("substituted", 0))
        self._substituted_episodes = int(numbers.get("substituted_episodes", 0))
        self.statistics.recent = numbers.get("recent", [])
