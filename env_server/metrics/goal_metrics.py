"""Metrics of goals: success by goal, how fixed the division of labour is, how much of the goal space is mastered.

All functions take episodes that no member left (`peer_lost` is False). Source: Nisioti et al., arXiv 2211.06082, and its public code.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from env_server.environments.environment_contracts import EpisodeRecord
from protocols.spaces.goal_space import DiscreteSpace, Goal

MASTERED = 0.9
"""success rate from which a goal counts as mastered"""


def succeeded(record: EpisodeRecord) -> list[bool]:
    """Whether each member's goal was reached."""
    return list(record.reached) or [reward > 0 for reward in record.rewards]


def number(goal: Goal) -> int:
    """A goal of a discrete space; `ValueError` for a vector."""
    if not isinstance(goal, int):
        raise ValueError("a vector goal has no number")
    return goal


def distinct(records: Sequence[EpisodeRecord], space: DiscreteSpace) -> dict[str, float]:
    """For goals that one member at most can reach, means over episodes:

    - `goals.distinct`: number of different goals pursued, divided by the largest number possible, min(members, |G|);
    - `goals.covered`: number of goals that any member's body achieves when the episode ends, divided by the same.
    """
    if space.common or not records:
        return {}
    most = [min(len(record.members), space.count) for record in records]
    chosen = [len(set(record.goals)) / n for record, n in zip(records, most, strict=True)]
    covered = [min(1.0, len(set().union(*map(set, record.touched))) / n) for record, n in zip(records, most, strict=True)]
    return {"goals.distinct": float(np.mean(chosen)), "goals.covered": float(np.mean(covered))}


def success_by_goal(records: Iterable[EpisodeRecord]) -> dict[int, float]:
    """goal -> share of the members holding it that reached it; goals that no member held are absent."""
    outcomes: dict[int, list[bool]] = defaultdict(list)
    for record in records:
        for goal, success in zip(record.goals, succeeded(record), strict=True):
            outcomes[number(goal)].append(success)
    return {goal: float(np.mean(found)) for goal, found in sorted(outcomes.items())}


def agreed_by_goal(records: Iterable[EpisodeRecord]) -> dict[int, float]:
    """leader's goal -> mean share of the followers that hold it too; goals that no leader with a follower held are absent."""
    shares: dict[int, list[float]] = defaultdict(list)
    for record in records:
        if len(record.goals) > 1:
            shares[number(record.goals[0])].append(followers_agreed(record))
    return {goal: float(np.mean(found)) for goal, found in sorted(shares.items())}


def followers_agreed(record: EpisodeRecord) -> float:
    """Share of the followers that hold the leader's goal (the leader is the first member); with two members 0 or 1."""
    return float(np.mean([goal == record.goals[0] for goal in record.goals[1:]]))


def diversity(success: dict[int, float], space: DiscreteSpace) -> float | None:
    """D = #{g : success rate of g >= 0.9} / |G|; None unless every goal was evaluated."""
    if len(success) < space.count:
        return None
    return sum(rate >= MASTERED for rate in success.values()) / space.count


def return_per_goal(records: Sequence[EpisodeRecord], space: DiscreteSpace) -> float | None:
    """1/|G| sum_g (mean over the episodes with goal g of sum_i r_i) / R*, for episodes in which all members were given one goal; None
    unless every goal was evaluated, and where R* is not known. The mean
    over episodes, which is published, weighs goals by how many episodes they have."""
    returns: dict[int, list[float]] = defaultdict(list)
    for record in records:
        best = space.best_return(len(record.members))
        if best is None:
            return None
        returns[number(record.goals[0])].append(sum(record.rewards) / best)
    if len(returns) < space.count:
        return None
    return float(np.mean([np.mean(found) for found in returns.values()]))


def pursued_entropy(records: Iterable[EpisodeRecord], space: DiscreteSpace) -> float:
    """-sum_g f(g) ln f(g) / ln |G|, f(g) being the share of g among all members' goals: 1 where all are pursued equally, 0 where one is.
    From n goals it is too small by about (|G| - 1) / (2 n ln |G|) on average."""
    counts = np.bincount([number(goal) for record in records for goal in record.goals], minlength=space.count)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(max(2, space.count))) + 0.0


def specialization(records: Iterable[EpisodeRecord], space: DiscreteSpace) -> dict[str, float]:
    """How fixed it is who goes where. For agent i and cooperative goal g let n(l) be the number of episodes that i succeeded in with goal g
    and ended with feature l (those in which it ended with none don't count). Means over all (i, g) with any such episode of

    - `specialization`: max_l n(l) / sum_l n(l). 1: a fixed division of labour, 1/2: none, between two features. Of few episodes it is
      too large; of a single one always 1.
    - `specialization.published`: the same quotient for the histogram of the values n(l), which the published numbers are: 1 where i used
      one feature, or two equally often, and 1/2 where it used two unequally.

    Empty where no member succeeded in any cooperative goal.
    """
    used: dict[tuple[str, int], Counter[int]] = defaultdict(Counter)
    for record in records:
        for agent, goal, reward, touched in zip(record.members, record.goals, record.rewards, record.touched, strict=False):
            goal = number(goal)
            features = set(touched) & set(space.elements(goal))
            if space.cooperative[goal] and reward > 0 and features:
                used[agent, goal].update(features)
    if not used:
        return {}
    return {
        "specialization": float(np.mean([_largest_share(counts) for counts in used.values()])),
        "specialization.published": float(np.mean([_largest_share(Counter(counts.values())) for counts in used.values()])),
    }


def _largest_share(counts: Counter[int]) -> float:
    return max(counts.values()) / counts.total()
