"""Statistics of finished episodes: training metrics in windows of time, metrics of complete evaluations, and the counters of a run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import EpisodeRecord, TickResult
from env_server.metrics import goal_metrics
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.goal_space import DiscreteSpace, GoalSpace

RECENT = 100
"""training episodes over which `return.recent` is the mean"""
MOST_GOALS = 128
"""goals up to which each has its own metrics"""


def metrics(records: Sequence[EpisodeRecord], space: GoalSpace | None) -> dict[str, float]:
    """Means over episodes; shares are from 0 to 1, and a metric without any case is left out.

    - `return`: sum of the members' rewards; `return.normalised`: the same over R* (`GoalSpace.best_return`)
    - `length`: steps until the last member was done
    - metrics of the environment itself (`EpisodeRecord.metrics`), each over the episodes that have it
    - `success.individual`, `success.cooperative`: among members with such a goal, those that reached it; `success`: with vector goals, all
    - `aligned`: share of the followers that hold the leader's goal, mean over the episodes with at least one cooperative goal; with two
      members the share of such episodes in which both hold the same goal, which is the published figure
    - `goals.distinct`, `goals.covered`: see `goal_metrics.distinct`
    - `negotiated`: episodes whose members all reported an agreement
    """
    whole = [record for record in records if not record.peer_lost]
    if not whole:
        return {}
    returns = [sum(record.rewards) for record in whole]
    result = {"return": float(np.mean(returns)), "length": float(np.mean([max(record.lengths, default=0) for record in whole]))}
    for name in sorted({name for record in whole for name in record.metrics}):
        result[name] = float(np.mean([record.metrics[name] for record in whole if name in record.metrics]))
    if space is None:
        return result
    if not isinstance(space, DiscreteSpace):
        reached = [success for record in whole for success in goal_metrics.succeeded(record)]
        return result | {"success": float(np.mean(reached))} if reached else result
    best = [space.best_return(len(record.members)) for record in whole]
    if None not in best:
        result["return.normalised"] = float(np.mean(np.divide(returns, np.array(best, np.float64))))
    pairs = [pair for record in whole for pair in zip(map(goal_metrics.number, record.goals), goal_metrics.succeeded(record), strict=True)]
    for name, cooperative in (("individual", False), ("cooperative", True)):
        outcomes = [success for goal, success in pairs if bool(space.cooperative[goal]) == cooperative]
        if outcomes:
            result[f"success.{name}"] = float(np.mean(outcomes))
    joint = [record for record in whole if len(record.goals) > 1 and any(space.cooperative[goal_metrics.number(g)] for g in record.goals)]
    if joint:
        result["aligned"] = float(np.mean([goal_metrics.followers_agreed(record) for record in joint]))
    result |= goal_metrics.distinct(whole, space)
    result["negotiated"] = float(np.mean([record.negotiated for record in whole]))
    return result


def own_goal_metrics(records: Sequence[EpisodeRecord], space: GoalSpace | None) -> dict[str, float]:
    """Metrics of an evaluation with goals of the members' choice: `metrics` but `negotiated`, and for each goal `success.goal.A-B` (as
    `success`) and `agreed.goal.A-B` (share of the followers that hold the goal where it is the leader's)."""
    whole = [record for record in records if not record.peer_lost]
    result = _without(metrics(whole, space), "negotiated")
    if not isinstance(space, DiscreteSpace):
        return result
    result |= _by_goal("success", goal_metrics.success_by_goal(whole), space)
    return result | _by_goal("agreed", goal_metrics.agreed_by_goal(whole), space)


def assigned_goal_metrics(records: Sequence[EpisodeRecord], space: DiscreteSpace) -> dict[str, float]:
    """Metrics of an evaluation in which all members are given one goal: `metrics` but `negotiated` and `aligned`, then `return.per_goal`,
    `diversity`, `specialization`, `specialization.published` (see `env_server.metrics.goal_metrics`) and `success.goal.A-B` of each
    goal."""
    whole = [record for record in records if not record.peer_lost]
    result = _without(metrics(whole, space), "negotiated", "aligned")
    success = goal_metrics.success_by_goal(whole)
    for name, value in (
        ("return.per_goal", goal_metrics.return_per_goal(whole, space)),
        ("diversity", goal_metrics.diversity(success, space)),
    ):
        if value is not None:
            result[name] = value
    result |= goal_metrics.specialization(whole, space)
    return result | _by_goal("success", success, space)


def _by_goal(name: str, values: Mapping[int, float], space: DiscreteSpace) -> dict[str, float]:
    if space.count > MOST_GOALS:
        return {}
    return {f"{name}.goal.{space.label(goal)}": value for goal, value in values.items()}


def _without(values: dict[str, float], *names: str) -> dict[str, float]:
    return {name: value for name, value in values.items() if name not in names}


_PLAYS = Flag.MEMBER | Flag.TERMINATED | Flag.TRUNCATED | Flag.PARKED | Flag.OVER | Flag.EVALUATION | Flag.WAITING
"""of these only `MEMBER` is set where the action that follows is one of training and counts: not in an episode that is over, nor after the
agent's part in it, nor at another agent's turn"""


@dataclass(frozen=True)
class CompletedEvaluation:
    """Numbers of episodes of an evaluation: with the agents' own goals, with an assigned one, and those that were cancelled."""

    own: int
    aligned: int
    cancelled: int


class EpisodeCounters:
    """Counts of one run; finished episodes are sorted into training windows and evaluations. An evaluation is due after every `every`
    training episodes, or, `by_steps`, training steps."""

    def __init__(self, space: GoalSpace | None, every: int, by_steps: bool = False) -> None:
        self._space = space
        self._window: list[EpisodeRecord] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        """returns of the newest training episodes that lost no member, oldest first"""
        self._own: list[EpisodeRecord] = []
        self._aligned: list[EpisodeRecord] = []
        self._wanted: list[tuple[int, int]] = []
        self._begun = False
        """the oldest evaluation that is wanted is being played"""
        self._cancelled = 0
        """episodes of it that are not played"""
        self.newest = CompletedEvaluation(0, 0, 0)
        """the evaluation that `evaluation` returned last"""
        self.episodes = 0
        """training episodes that ended"""
        self.peer_lost = 0
        """episodes that ended since a member died"""
        self.steps = 0
        """training steps of all copies together"""
        self.unfinished = 0
        """training episodes that are being played"""
        self.dropped = 0
        """training episodes that were not over when an earlier process of this server ended"""
        self._every, self._by_steps = every, by_steps
        self._next_evaluation = every
        self._played = 0
        self._last_report = time.monotonic()
        self._actions = 0
        """of members in training episodes"""
        self._substituted = 0
        """those of them that a stand-in chose"""
        self._substituted_episodes = 0
        self.illegal = 0
        """actions of agents that their mask forbade, and that were replaced"""
        self._marked = np.zeros(0, np.int64)
        """the newest episode of each copy that is among them"""

    def expect(self, episodes: int, aligned: bool) -> None:
        """An evaluation was asked for: `episodes` with the members' own goals and, `aligned`, as many with an assigned one."""
        if episodes:
            self._wanted.append((episodes, episodes if aligned and self._space is not None and self._space.common else 0))

    @property
    def evaluating(self) -> bool:
        """Whether an evaluation is not complete."""
        return bool(self._wanted)

    @property
    def evaluated(self) -> tuple[int, int]:
        """Of the evaluation that is being played: episodes that ended, and all without the cancelled ones; zeros without one."""
        if not self._wanted:
            return 0, 0
        own, aligned = self._wanted[0]
        return min(own, len(self._own)) + min(aligned, len(self._aligned)), own + aligned

    @property
    def assigns(self) -> bool:
        """Whether the evaluation that is being played has episodes with an assigned goal."""
        return bool(self._wanted) and self._wanted[0][1] > 0

    def shorten(self, own: int, aligned: int) -> None:
        """So many episodes of the evaluation that is being played are not played."""
        had, assigned = self._wanted[0]
        self._wanted[0] = max(0, had - own), max(0, assigned - aligned)
        self._cancelled += had + assigned - sum(self._wanted[0])

    def conclude(self) -> None:
        """The evaluation that is being played consists of the episodes that have ended."""
        own, aligned = self._wanted[0]
        self.shorten(max(0, own - len(self._own)), max(0, aligned - len(self._aligned)))

    def to_begin(self) -> int:
        """Episodes of the next evaluation, once for each; 0 if none is due. One begins when those before it are
        complete: of two at a time the first would take the episodes that end first, which are the successes, and leave the failures to the
        second."""
        if self._begun or not self._wanted:
            return 0
        self._begun = True
        return self._wanted[0][0]

    def add(self, records: Iterable[EpisodeRecord]) -> None:
        """Count finished episodes. Evaluations that lost a member count as played, but give no metrics."""
        for record in records:
            self.peer_lost += record.peer_lost
            if not record.evaluation:
                self.episodes += 1
                self._window.append(record)
                if not record.peer_lost:
                    self._recent.append(sum(record.rewards))
            elif record.assigned:
                self._aligned.append(record)
            else:
                self._own.append(record)

    def window(self) -> dict[str, float]:
        """Training metrics since the last call, with the number of episodes as `episodes`, and of those that lost no member, over which the
        means are, as `episodes.whole`; `return.recent`, the mean return of the last 100 of these, once there are so many; and, where there
        are goals, the entropy of those that were pursued, `goals.pursued_entropy`."""
        records, self._window = self._window, []
        if not records:
            return {}
        whole = [record for record in records if not record.peer_lost]
        values = {**metrics(whole, self._space), "episodes": float(len(records)), "episodes.whole": float(len(whole))}
        if len(self._recent) == RECENT:
            values["return.recent"] = float(np.mean(self._recent))
        if isinstance(self._space, DiscreteSpace) and whole:
            values["goals.pursued_entropy"] = goal_metrics.pursued_entropy(whole, self._space)
        return values

    def evaluation(self) -> dict[str, float] | None:
        """Metrics of the oldest evaluation, once it is complete: `eval.own.*` and, with assigned goals, `eval.aligned.*`. Those of single
        goals come last."""
        if not self._wanted:
            return None
        own, aligned = self._wanted[0]
        if len(self._own) < own or len(self._aligned) < aligned:
            return None
        self._wanted.pop(0)
        self._begun = False
        self.newest, self._cancelled = CompletedEvaluation(own, aligned, self._cancelled), 0
        found = {f"eval.own.{name}": value for name, value in own_goal_metrics(self._own[:own], self._space).items()}
        if isinstance(self._space, DiscreteSpace) and aligned:
            found |= {f"eval.aligned.{name}": value for name, value in assigned_goal_metrics(self._aligned[:aligned], self._space).items()}
        self._own, self._aligned = self._own[own:], self._aligned[aligned:]
        return dict(sorted(found.items(), key=lambda item: ".goal." in item[0]))

    # --- steps ------------------------------------------------------------------------------------------------------------------------

    def stepped(self, before: TickResult, after: TickResult, acted: Collection[str], updates: int = 0) -> None:
        """All copies were stepped, with actions of those who `acted` and stand-ins for the others, late or absent. The first observation of
        an episode is no step of it, and what is played to evaluate is no training: else the budget of a run would depend on how often it is
        evaluated. `updates` that each agent makes from a dataset in a tick in which nothing is played count as so many steps."""
        flags_before, flags = (np.stack([outcome.agents[agent].flags for agent in after.agents]) for outcome in (before, after))
        played = (after.episode >= 0) & (after.episode == before.episode)
        either = np.bitwise_or.reduce(flags)
        self.steps += int(np.count_nonzero(played & ((either & Flag.EVALUATION) == 0)))
        self.unfinished = int(np.count_nonzero((after.episode >= 0) & ((either & (Flag.EVALUATION | Flag.OVER)) == 0)))
        self._played += int(np.count_nonzero(played))
        if (before.episode < 0).all():
            self.steps += updates
            self._played += updates
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
        count = self.steps if self._by_steps else self.episodes
        if count < self._next_evaluation:
            return False
        self._next_evaluation = (count // self._every + 1) * self._every
        return True

    # --- metrics ----------------------------------------------------------------------------------------------------------------------

    def speed(self, now: float) -> float:
        """Steps per real second since the last report, those of evaluations too."""
        return self._played / max(now - self._last_report, 1e-9)

    def values(self) -> dict[str, float]:
        """Metrics since the last call, and counts since the beginning."""
        return (
            self.window()
            | {
                "steps": float(self.steps),
                "env.substituted": self._substituted / max(1, self._actions),
                "episodes.substituted": float(self._substituted_episodes),
                "episodes.peer_lost": float(self.peer_lost),
            }
            | ({"env.illegal_actions": float(self.illegal)} if self.illegal else {})
            | ({"episodes.dropped": float(self.dropped)} if self.dropped else {})
        )

    def reported(self, now: float) -> None:
        """A report was written."""
        self._played, self._last_report = 0, now

    # --- what outlives the process ------------------------------------------------------------------------------------------------------

    def tick_counts(self) -> dict[str, int]:
        """The counts of the newest tick."""
        names = ("steps", "episodes", "peer_lost", "unfinished", "dropped")
        return {name: int(getattr(self, name)) for name in names}

    def numbers(self) -> dict[str, int | list[float]]:
        """What the next process goes on from."""
        return {
            "episodes": self.episodes,
            "steps": self.steps,
            "next_evaluation": self._next_evaluation,
            "peer_lost": self.peer_lost,
            "actions": self._actions,
            "substituted": self._substituted,
            "substituted_episodes": self._substituted_episodes,
            "illegal": self.illegal,
            "recent": list(self._recent),
        }

    def resume_from(self, numbers: Mapping[str, Any]) -> None:
        """Go on from `numbers` of an earlier process; earlier versions wrote fewer."""
        self.episodes, self.steps = int(numbers["episodes"]), int(numbers["steps"])
        self.peer_lost = int(numbers.get("peer_lost", 0))
        self.dropped = int(numbers.get("dropped", 0)) + int(numbers.get("unfinished", 0))
        self._next_evaluation = int(numbers.get("next_evaluation", self._every))
        self._actions, self._substituted = int(numbers.get("actions", 0)), int(numbers.get("substituted", 0))
        self._substituted_episodes = int(numbers.get("substituted_episodes", 0))
        self.illegal = int(numbers.get("illegal", 0))
        self._recent = deque(numbers.get("recent", []), maxlen=RECENT)
