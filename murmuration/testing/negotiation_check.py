"""Contract of negotiations about the goals of episodes."""

from __future__ import annotations

import numpy as np

from agent_node.contracts import EpisodeNegotiation
from agent_node.exchange.negotiation.settings import NegotiationSettings
from murmuration.testing.contract import Contract, repeated
from protocols.spaces.goal_space import NO_GOAL

ROUNDS = 60


def check_negotiation(settings: NegotiationSettings, goals: int = 6) -> None:
    """Check the negotiation that is registered for these settings, of agents with `goals` goals. It must have the capability
    "episode_goals".

    Rules: messages and goals in range, drawn from the given generators only; an equal vocabulary at all agents; `leading` and `reading`
    of `shared_arrays`, where they exist; checkpoints. Raises `ContractError`.
    """
    contract = Contract(f"negotiation {type(settings).__name__}")
    contract.require(
        isinstance(settings, NegotiationSettings), "the settings do not derive from NegotiationSettings", "derive them from it"
    )
    text = f"capabilities {settings.capabilities}: this check is for negotiations of episode goals"
    contract.require("episode_goals" in settings.capabilities, text, "test the conversation by check_conversation")
    one: EpisodeNegotiation = contract.make("negotiation", settings, goals, 1)
    other: EpisodeNegotiation = contract.make("negotiation", settings, goals, 2)
    with contract.calling("vocabulary"):
        words = one.vocabulary
    contract.require(isinstance(words, int) and words >= 1, f"vocabulary is {words!r}", "return a positive integer")
    contract.require(other.vocabulary == words, "vocabulary depends on the seed", "derive it from settings and goals only")
    records = []
    for number in range(ROUNDS):
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
    for call, function in (("lead", lambda random: one.lead(0, random)), ("follow", lambda random: one.follow(0, random))):
        first, second = repeated(function)
        contract.require(first == second, f"{call} differs for two equal generators", "draw from `random` only")
    arrays = one.shared_arrays()
    for name, size in (("leading", goals), ("reading", words)):
        if name in arrays:
            contract.array(arrays[name], f"shared_arrays()[{name!r}]", (size,), "i", NO_GOAL)
            fits = arrays[name].dtype == np.int32
            contract.require(fits, f"shared_arrays()[{name!r}] has dtype {arrays[name].dtype}", "return int32")
    contract.metrics(one.metrics(), "metrics()")
    contract.checkpoint(one, contract.make("negotiation", settings, goals, 1))


def _in_range(contract: Contract, value: object, size: int, call: str) -> None:
    fits = isinstance(value, int) and 0 <= value < size
    contract.require(fits, f"{call} returned {value!r}", f"return an integer from 0 to {size - 1}")
