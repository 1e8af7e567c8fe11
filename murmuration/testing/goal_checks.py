"""Contracts of goal spaces and goal sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import GoalSource
from agent_node.goals.settings import GoalSourceSettings
from murmuration.testing.contract import Contract, repeated
from protocols.spaces.goal_space import DiscreteSpace, GoalSpace, goal_space
from protocols.spaces.vector_goals import VectorGoals

DRAWS = 100
VECTORS = VectorGoals(low=(-1.0, -2.0), high=(1.0, 2.0))
"""the space of made-up vector goals"""


def check_goal_space(space: GoalSpace) -> None:
    """Check a goal space.

    Rules: goals drawn from the generator lie in the space; `encode` gives rows of `goal_size` numbers, zeros where no goal is set and
    different rows for different discrete goals; `achieved`, `reached` and `compute_reward` work on any leading axes, give for each row what
    they give for this row alone, and change nothing; the wire form restores the space. Raises `ContractError`.
    """
    contract = Contract(f"goal space {type(space).__name__}")
    contract.require(isinstance(space, GoalSpace), "it is not a GoalSpace", "derive it from protocols.spaces.goal_space.GoalSpace")
    discrete = space.goal_shape == ()
    contract.require(discrete == (space.count > 0), f"count is {space.count} and goal_shape {space.goal_shape}", "count is 0 for vectors")
    with contract.calling("draw(random)"):
        goals = [space.draw(np.random.default_rng(seed)) for seed in range(DRAWS)]
        one, other = repeated(space.draw)
    contract.require(one == other, "draw differs for two equal generators", "draw from `random` only")
    inside = all(isinstance(goal, int) and 0 <= goal < space.count for goal in goals) if discrete else True
    contract.require(inside, "draw returns goals out of range", f"return integers from 0 to {space.count - 1}")
    desired = np.array(goals, np.int64 if discrete else np.float32).reshape(4, DRAWS // 4, *space.goal_shape)
    _encoding(contract, space, desired)
    _rewards(contract, space, desired)
    with contract.calling("info()"):
        same = goal_space(space.info()) == space
    contract.require(same, "the wire form of info() does not restore the space", "info() contains all parameters")
    named = all(isinstance(space.name(goal), str) and space.name(goal) for goal in goals)
    contract.require(named, "name(goal) is not a text", "return a short description")


def _encoding(contract: Contract, space: GoalSpace, desired: NDArray[Any]) -> None:
    discrete = space.goal_shape == ()
    none = np.full((3, *space.goal_shape), -1 if discrete else np.nan, desired.dtype)
    with contract.calling("encode(goal)"):
        encoded, unset = space.encode(desired), space.encode(none)
    contract.array(encoded, "encode", (*desired.shape[:2], space.goal_size), "f")
    contract.require(encoded.dtype == np.float32, f"encode returns {encoded.dtype}", "return float32")
    contract.array(unset, "encode without goals", (3, space.goal_size), "f")
    contract.require(not unset.any(), "encode is not zero where no goal is set (-1, or NaN in vectors)", "return zeros there")
    if discrete:
        rows = space.encode(np.arange(space.count))
        contract.require(len(np.unique(rows, axis=0)) == space.count, "two goals have the same encoding", "encode each goal differently")


def _rewards(contract: Contract, space: GoalSpace, desired: NDArray[Any]) -> None:
    random, lead = np.random.default_rng(0), desired.shape[:2]
    for others in (0, 2):
        if isinstance(space, DiscreteSpace):
            rows: NDArray[Any] = random.integers(0, 2, (*lead, others + 1, space.achieved_size)).astype(np.uint8)
        else:
            rows = random.uniform(-1, 1, (*lead, others + 1, space.achieved_size)).astype(np.float32)
        kept = rows.copy(), desired.copy()
        with contract.calling(f"achieved(own, others) with {others} other bodies"):
            achieved = space.achieved(rows[:, :, 0], rows[:, :, 1:])
        contract.array(achieved, "achieved", (*lead, space.count or space.goal_size), "fib" if achieved.dtype != bool else "b")
        with contract.calling("reached(achieved, desired) and compute_reward(achieved, desired)"):
            reached, reward = space.reached(achieved, desired), space.compute_reward(achieved, desired)
        contract.array(reached, "reached", lead, "b")
        contract.array(reward, "compute_reward", lead, "f")
        contract.require(reward.dtype == np.float32, f"compute_reward returns {reward.dtype}", "return float32")
        alone = [space.compute_reward(achieved[i, j][None], desired[i, j][None])[0] for i in range(lead[0]) for j in range(lead[1])]
        text = "compute_reward gives a row another reward among other rows than alone"
        contract.require(np.allclose(alone, reward.ravel()), text, "compute each row from this row only")
        unchanged = np.array_equal(rows, kept[0]) and np.array_equal(desired, kept[1])
        contract.require(unchanged, "its functions change their arguments", "copy arrays before changing them")


def check_goal_source(settings: GoalSourceSettings, goals: int | GoalSpace = 6) -> None:
    """Check the goal source that is registered for these settings, for `goals` discrete goals or for a space of vector goals
    (`VECTORS` is one).

    Rules: goals in range, drawn from the given generator only; `probabilities` is a distribution, and goals of probability 0 are not
    proposed, before and after learning; checkpoints. Raises `ContractError`.
    """
    contract = Contract(f"goal source {type(settings).__name__}")
    fits = isinstance(settings, GoalSourceSettings)
    contract.require(fits, "the settings do not derive from GoalSourceSettings", "derive them from it")
    source: GoalSource = contract.make("goals", settings, goals)
    _proposals(contract, source, goals)
    random = np.random.default_rng(0)
    for number in range(DRAWS):
        goal = source.propose(random)
        with contract.calling("update(goal, reward) and completed(goal, reward, partner_goals)"):
            source.update(goal, float(number % 2))
            source.completed(goal, float(number % 2), [goal] if isinstance(goal, int) else [])
    _proposals(contract, source, goals)
    contract.metrics(source.metrics(), "metrics()")
    contract.checkpoint(source, contract.make("goals", settings, goals))


def _proposals(contract: Contract, source: GoalSource, goals: int | GoalSpace) -> None:
    with contract.calling("probabilities()"):
        probabilities = source.probabilities()
    count = goals if isinstance(goals, int) else 0
    contract.array(probabilities, "probabilities()", (count,), "f", 0.0)
    total = float(probabilities.sum())
    contract.require(not count or abs(total - 1) < 1e-6, f"probabilities() sums to {total:g}", "return a distribution over the goals")
    with contract.calling("propose(random)"):
        one, other = repeated(source.propose)
        proposed = [source.propose(np.random.default_rng(seed)) for seed in range(DRAWS)]
    contract.require(one == other, "propose differs for two equal generators", "draw from `random` only")
    for goal in proposed:
        if isinstance(goals, int):
            text, cure = f"propose returned {goal!r}", f"return an integer from 0 to {goals - 1}"
            contract.require(isinstance(goal, int) and 0 <= goal < goals, text, cure)
            contract.require(
                isinstance(goal, int) and probabilities[goal] > 0,
                f"goal {goal} is proposed and has probability 0",
                "draw by probabilities()",
            )
        else:
            fits = isinstance(goal, tuple) and len(goal) == goals.goal_size and bool(np.isfinite(goal).all())
            contract.require(fits, f"propose returned {goal!r}", f"return a tuple of {goals.goal_size} finite numbers")
