"""What evaluations say of each goal: who masters it, how fixed the division of labour is, how much of the goal space is mastered.

All functions take episodes that no member left (`peer_lost` is False). Source: Nisioti et al., arXiv 2211.06082, and its public code.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from env_server.environments.environment_contracts import EpisodeRecord
from protocols.spaces.goal_space import GoalSpace

MASTERED = 0.9
"""success rate from which a goal counts as mastered"""


def success_by_goal(records: Iterable[EpisodeRecord]) -> dict[int, float]:
    """goal -> share of the members holding it that were rewarded; goals that nobody held are absent."""
    outcomes: dict[int, list[bool]] = defaultdict(list)
    for record in records:
        for goal, reward in zip(record.goals, record.rewards, strict=True):
            outcomes[goal].append(reward > 0)
    return {goal: float(np.mean(found)) for goal, found in sorted(outcomes.items())}


def agreed_by_goal(records: Iterable[EpisodeRecord]) -> dict[int, float]:
    """leader's goal -> mean share of the followers that hold it too; goals that no leader with a follower held are absent."""
    shares: dict[int, list[float]] = defaultdict(list)
    for record in records:
        if len(record.goals) > 1:
            shares[record.goals[0]].append(followers_agreed(record))
    return {goal: float(np.mean(found)) for goal, found in sorted(shares.items())}


def followers_agreed(record: EpisodeRecord) -> float:
    """Share of the followers that hold the leader's goal (the leader is the first member); with two members 0 or 1."""
    return float(np.mean([goal == record.goals[0] for goal in record.goals[1:]]))


def diversity(success: dict[int, float], space: GoalSpace) -> float | None:
    """D = #{g : success rate of g >= 0.9} / |G|; None unless every goal was evaluated."""
    if len(success) < space.count:
        return None
    return sum(rate >= MASTERED for rate in success.values()) / space.count


def return_per_goal(records: Sequence[EpisodeRecord], space: GoalSpace) -> float | None:
    """1/|G| sum_g (mean over the episodes with goal g of sum_i r_i) / R*, for episodes in which all members were given one goal; None
    unless every goal was evaluated. The mean over episodes, which is published, weighs goals by how many episodes they have."""
    returns: dict[int, list[float]] = defaultdict(list)
    for record in records:
        returns[record.goals[0]].append(sum(record.rewards) / space.best_return(len(record.members)))
    if len(returns) < space.count:
        return None
    return float(np.mean([np.mean(found) for found in returns.values()]))


def pursued_entropy(records: Iterable[EpisodeRecord], space: GoalSpace) -> float:
    """-sum_g f(g) ln f(g) / ln |G|, f(g) being the share of g among all members' goals: 1 where all are pursued equally, 0 where one is.
    From n goals it is too small by about (|G| - 1) / (2 n ln |G|) on average."""
    counts = np.bincount([goal for record in records for goal in record.goals], minlength=space.count)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(max(2, space.count))) + 0.0


def specialization(records: Iterable[EpisodeRecord], space: GoalSpace) -> dict[str, float]:
    """How fixed it is who goes where. For agent i and cooperative goal g let n(l) be the number of episodes that i succeeded in with goal g
    and ended touching landmark l (those in which it ended touching none don't count). Means over all (i, g) with any such episode of

    - `specialization`: max_l n(l) / sum_l n(l). 1: a fixed division of labour, 1/2: none, between two landmarks. Of few episodes it is
      too large; of a single one always 1.
    - `specialization.published`: the same quotient for the histogram of the values n(l), which the published numbers are: 1 where i used
      one landmark, or two equally often, and 1/2 where it used two unequally.

    Empty where nobody succeeded in any cooperative goal.
    """
    used: dict[tuple[str, int], Counter[int]] = defaultdict(Counter)
    for record in records:
        for agent, goal, reward, touched in zip(record.members, record.goals, record.rewards, record.touched, strict=False):
            landmarks = set(touched) & set(space.sets[goal])
            if space.cooperative[goal] and reward > 0 and landmarks:
                used[agent, goal].update(landmarks)
    if not used:
        return {}
    return {
        "specialization": float(np.mean([_largest_share(counts) for counts in used.values()])),
        "specialization.published": float(np.mean([_largest_share(Counter(counts.values())) for counts in used.values()])),
    }


def _largest_share(counts: Counter[int]) -> float:
    return max(counts.values()) / counts.total()
