"""What finished episodes came to: figures of training in windows of time, figures of evaluations when they are complete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from env_server.contracts import EpisodeRecord
from protocols.goal_space import GoalSpace


def figures(records: Sequence[EpisodeRecord], space: GoalSpace | None) -> dict[str, float]:
    """Means over episodes; shares are from 0 to 1, and a figure without any case is left out.

    - `return`: sum of the members' rewards; `length`: steps until the last member was done
    - `success.individual`, `success.cooperative`: among members with such a goal, those who were rewarded
    - `aligned`: among episodes with at least one cooperative goal, those in which all members hold the same goal
    - `negotiated`: episodes whose members all reported an agreement
    """
    whole = [record for record in records if not record.peer_lost]
    if not whole:
        return {}
    result = {
        "return": float(np.mean([sum(record.rewards) for record in whole])),
        "length": float(np.mean([max(record.lengths, default=0) for record in whole])),
    }
    if space is None:
        return result
    pairs = [(goal, reward) for record in whole for goal, reward in zip(record.goals, record.rewards, strict=True)]
    for name, cooperative in (("individual", False), ("cooperative", True)):
        outcomes = [reward > 0 for goal, reward in pairs if bool(space.cooperative[goal]) == cooperative]
        if outcomes:
            result[f"success.{name}"] = float(np.mean(outcomes))
    together = [len(set(record.goals)) == 1 for record in whole if any(space.cooperative[goal] for goal in record.goals)]
    if together:
        result["aligned"] = float(np.mean(together))
    result["negotiated"] = float(np.mean([record.negotiated for record in whole]))
    return result


class EpisodeStatistics:
    """Sorts finished episodes into training windows and evaluations."""

    def __init__(self, space: GoalSpace | None) -> None:
        self._space = space
        self._window: list[EpisodeRecord] = []
        self._own: list[EpisodeRecord] = []
        self._aligned: list[EpisodeRecord] = []
        self._wanted: list[tuple[int, int]] = []
        self.training = 0
        """training episodes that ended"""
        self.peer_lost = 0
        """episodes that ended since a member died"""

    def expect(self, episodes: int, aligned: bool) -> None:
        """An evaluation was asked for: `episodes` with the members' own goals and, `aligned`, as many with an assigned one."""
        if episodes:
            self._wanted.append((episodes, episodes if aligned and self._space is not None else 0))

    @property
    def evaluating(self) -> bool:
        """Whether an evaluation is not complete."""
        return bool(self._wanted)

    def add(self, records: Iterable[EpisodeRecord]) -> None:
        """Count finished episodes. Evaluations that lost a member count as played, but give no figures."""
        for record in records:
            self.peer_lost += record.peer_lost
            if not record.evaluation:
                self.training += 1
                self._window.append(record)
            elif record.assigned:
                self._aligned.append(record)
            else:
                self._own.append(record)

    def window(self) -> dict[str, float]:
        """Training figures since the last call, with the number of episodes as `episodes`."""
        records, self._window = self._window, []
        return {**figures(records, self._space), "episodes": float(len(records))} if records else {}

    def evaluation(self) -> dict[str, float] | None:
        """Figures of the oldest evaluation, once it is complete: `eval.own.*` and, with assigned goals, `eval.aligned.*`."""
        if not self._wanted:
            return None
        own, aligned = self._wanted[0]
        if len(self._own) < own or len(self._aligned) < aligned:
            return None
        self._wanted.pop(0)
        parts = {"own": self._own[:own], "aligned": self._aligned[:aligned]}
        self._own, self._aligned = self._own[own:], self._aligned[aligned:]
        return {
            f"eval.{part}.{name}": value
            for part, records in parts.items()
            for name, value in figures(records, self._space).items()
            if name != "negotiated" and (part == "own" or name != "aligned")
        }
