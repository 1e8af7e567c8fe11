"""Contracts of goal spaces, goal sources, and negotiations about the goals of episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import EpisodeNegotiation, GoalSource
from agent_node.exchange.settings import NegotiationSettings
from agent_node.goals.settings import GoalSourceSettings
from murmuration.testing.contract import ComponentContract, Contract
from protocols.spaces.goal_space import NO_GOAL, DiscreteSpace, GoalSpace, goal_space
from protocols.spaces.vector_goals import VectorGoals

DRAWS = 100
NEGOTIATIONS = 60
FLOAT32, INT32 = np.dtype(np.float32), np.dtype(np.int32)
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
    contract.repeats("draw", space.draw)
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
    contract.array(encoded, "the result of encode", (*desired.shape[:2], space.goal_size), FLOAT32)
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
        with contract.unchanged("its functions change their arguments", rows, desired):
            with contract.calling(f"achieved(own, others) with {others} other bodies"):
                achieved = space.achieved(rows[:, :, 0], rows[:, :, 1:])
            contract.array(achieved, "achieved", (*lead, space.count or space.goal_size), "fib")
            with contract.calling("reached(achieved, desired) and compute_reward(achieved, desired)"):
                reached, reward = space.reached(achieved, desired), space.compute_reward(achieved, desired)
        contract.array(reached, "reached", lead, "b")
        contract.array(reward, "the result of compute_reward", lead, FLOAT32)
        alone = [space.compute_reward(achieved[i, j][None], desired[i, j][None])[0] for i in range(lead[0]) for j in range(lead[1])]
        text = "compute_reward gives a row another reward among other rows than alone"
        contract.require(np.allclose(alone, reward.ravel()), text, "compute each row from this row only")


def check_goal_source(settings: GoalSourceSettings, goals: int | GoalSpace = 6) -> None:
    """Check the goal source that is registered for these settings, for `goals` discrete goals or for a space of vector goals
    (`VECTORS` is one).

    Rules: goals in range, drawn from the given generator only; `probabilities` is a distribution, and goals of probability 0 are not
    proposed, before and after learning; checkpoints. Raises `ContractError`.
    """
    contract = ComponentContract("goal source", "goals", settings, GoalSourceSettings)
    source: GoalSource = contract.make(goals)
    _proposals(contract, source, goals)
    random = np.random.default_rng(0)
    for number in range(DRAWS):
        goal = source.propose(random)
        with contract.calling("update(goal, reward) and completed(goal, reward, partner_goals)"):
            source.update(goal, float(number % 2))
            source.completed(goal, float(number % 2), [goal] if isinstance(goal, int) else [])
    _proposals(contract, source, goals)
    contract.metrics(source.metrics(), "metrics()")
    contract.checkpoint(source, contract.make(goals))


def _proposals(contract: ComponentContract, source: GoalSource, goals: int | GoalSpace) -> None:
    with contract.calling("probabilities()"):
        probabilities = source.probabilities()
    count = goals if isinstance(goals, int) else 0
    contract.array(probabilities, "probabilities()", (count,), "f", 0.0)
    total = float(probabilities.sum())
    contract.require(not count or abs(total - 1) < 1e-6, f"probabilities() sums to {total:g}", "return a distribution over the goals")
    contract.repeats("propose", source.propose)
    with contract.calling("propose(random)"):
        proposed = [source.propose(np.random.default_rng(seed)) for seed in range(DRAWS)]
    for goal in proposed:
        if isinstance(goals, int):
            number = _in_range(contract, goal, goals, "propose")
            text = f"goal {number} is proposed and has probability 0"
            contract.require(probabilities[number] > 0, text, "draw by probabilities()")
        else:
            fits = isinstance(goal, tuple) and len(goal) == goals.goal_size and bool(np.isfinite(goal).all())
            contract.require(fits, f"propose returned {goal!r}", f"return a tuple of {goals.goal_size} finite numbers")


def check_negotiation(settings: NegotiationSettings, goals: int = 6) -> None:
    """Check the negotiation that is registered for these settings, of agents with `goals` goals. It must have the capability
    "episode_goals".

    Rules: messages and goals in range, drawn from the given generators only; an equal vocabulary at all agents; `leading` and `reading`
    of `shared_arrays`, where they exist; checkpoints. Raises `ContractError`.
    """
    contract = ComponentContract("negotiation", "negotiation", settings, NegotiationSettings)
    text = f"capabilities {settings.capabilities}: this check is for negotiations of episode goals"
    contract.require("episode_goals" in settings.capabilities, text, "test the conversation by check_conversation")
    one: EpisodeNegotiation = contract.make(goals, 1)
    other: EpisodeNegotiation = contract.make(goals, 2)
    with contract.calling("vocabulary"):
        words = one.vocabulary
    contract.require(isinstance(words, int) and words >= 1, f"vocabulary is {words!r}", "return a positive integer")
    contract.require(other.vocabulary == words, "vocabulary depends on the seed", "derive it from settings and goals only")
    records = []
    for number in range(NEGOTIATIONS):
        goal, random = number % goals, np.random.default_rng(number)
        with contract.calling("lead(goal, random)"):
            message = one.lead(goal, random)
        _in_range(contract, message, words, "lead")
        with contract.calling("follow(message, random)"):
            followed = other.follow(message, random)
        _in_range(contract, followed, goals, "follow")
        records.append((goal, message, float(followed == goal)))
    with contract.calling("update(records)"):
        one.update(records)
        one.update([])
    contract.repeats("lead", lambda random: one.lead(0, random))
    contract.repeats("follow", lambda random: one.follow(0, random))
    arrays = one.shared_arrays()
    for name, size in (("leading", goals), ("reading", words)):
        if name in arrays:
            contract.array(arrays[name], f"shared_arrays()[{name!r}]", (size,), INT32, NO_GOAL)
    contract.metrics(one.metrics(), "metrics()")
    contract.checkpoint(one, contract.make(goals, 1))


def _in_range(contract: Contract, value: object, size: int, call: str) -> int:
    if not isinstance(value, int) or not 0 <= value < size:
        contract.broken(f"{call} returned {value!r}", f"return an integer from 0 to {size - 1}")
    return value
