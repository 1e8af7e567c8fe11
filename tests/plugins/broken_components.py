"""Components that break one rule each, registered by importing this module. `BROKEN`: what to check, and what the error must contain."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from msgspec import Meta

from agent_node.contracts import EpisodeNegotiation, GoalSource, PolicyOutput
from agent_node.exchange.settings import NegotiationSettings
from agent_node.goals.goal_sources import UniformGoals
from agent_node.goals.settings import GoalSourceSettings
from agent_node.intrinsic.settings import CuriositySettings
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.settings import DoubleDQNSettings
from agent_node.world_models.gp.gp_model import GPModel
from agent_node.world_models.settings import GPSettings
from env_server.environments.reward_collection.collection_environment import VectorRewardCollection
from env_server.environments.reward_collection.settings import RewardCollectionOptions
from murmuration.testing import (
    ContractError,
    check_averaging_rule,
    check_conversation,
    check_environment,
    check_goal_source,
    check_goal_space,
    check_intrinsic_reward,
    check_learner,
    check_negotiation,
    check_world_model,
)
from protocols.averaging.rule_settings import VectorRuleSettings
from protocols.conversations.conversation import EdgeConversation, Send
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Settings
from protocols.spaces.discrete_goals import DiscreteGoals
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Message

BROKEN: dict[str, tuple[Callable[[], None], str]] = {}


def breaks(
    room: str, base: type[Any], text: str, check: Callable[[Any], None], fields: Mapping[str, Any] = {}, **declared: Any
) -> Callable[[Any], Any]:
    """Register an implementation under its own name in small letters, with settings derived from `base`."""

    def decorate(implementation: Any) -> Any:
        kind = implementation.__name__.lower()
        body = {"__module__": __name__, "__annotations__": {"kind": Literal[kind]}, "kind": kind, "__doc__": "Broken.", **declared}
        settings = type(f"{implementation.__name__}Settings", (base,), body)
        register(room, kind, settings, f"{__name__}:{implementation.__name__}")
        BROKEN[implementation.__name__] = (lambda: check(settings(**fields)), text)
        return implementation

    return decorate


# --- learners -------------------------------------------------------------------------------------------------------------------------


def learner(text: str, **declared: Any) -> Callable[[Any], Any]:
    return breaks("learner", DoubleDQNSettings, text, check_learner, {"hidden": [8]}, **declared)


@learner("is not derived from agent_node.contracts.learner_contracts.Learner, the contract of its room; write class NoLearner(Learner)")
class NoLearner:
    pass


@learner('declare exactly one of "replay" and "rollout"', capabilities=("discrete",))
class Undeclared(DoubleDQN):
    pass


@learner("actions of act has dtype int64; return int32")
class WideActions(DoubleDQN):
    def act(self, *arguments: Any) -> PolicyOutput:
        return PolicyOutput(super().act(*arguments).actions.astype(np.int64))


@learner("actions of act has shape [5] instead of [5, 1]")
class FlatActions(DoubleDQN):
    def act(self, *arguments: Any) -> PolicyOutput:
        return PolicyOutput(super().act(*arguments).actions[:, 0])


@learner("explore=True) for 5 observations draws from the global random generator of NumPy")
class GlobalDraws(DoubleDQN):
    def act(self, *arguments: Any) -> PolicyOutput:
        np.random.random()
        return super().act(*arguments)


@learner("acting with explore=False changes the actions of the exploration that follow")
class GreedyDraws(DoubleDQN):
    def act(self, observations: Any, goals: Any, rows: Any, first: Any, explore: bool) -> PolicyOutput:
        output = super().act(observations, goals, rows, first, explore=True)
        return output if explore else PolicyOutput(np.zeros_like(output.actions))


@learner("learn raised RuntimeError: no update".replace("learn raised", "learn(batch) raised"))
class Raising(DoubleDQN):
    def learn(self, batch: Any) -> Any:
        raise RuntimeError("no update")


@learner("learn changes reward of its batch; copy tensors before changing them")
class ChangesBatch(DoubleDQN):
    def learn(self, batch: Any) -> Any:
        batch.reward.mul_(0.5)
        return super().learn(batch)


@learner("learn returned 'loss': nan; return a dict of names to finite floats")
class NanLoss(DoubleDQN):
    def learn(self, batch: Any) -> Any:
        return super().learn(batch) | {"loss": float("nan")}


@learner("parameter_groups()['critic'] are copies, and averaging would not change the component; return the live tensors")
class CopiedGroups(DoubleDQN):
    def parameter_groups(self) -> Any:
        return {name: [tensor.clone() for tensor in tensors] for name, tensors in super().parameter_groups().items()}


@learner("which `groups` of the settings lacks; declare them in `groups`", groups=())
class UndeclaredGroup(DoubleDQN):
    pass


@learner("no parameter group changes in 3 updates")
class LearnsNothing(DoubleDQN):
    def learn(self, batch: Any) -> Any:
        return {}


@learner("two learners from equal seeds have different parameters; draw parameters from `initial` only")
class UnseededParameters(DoubleDQN):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.online.vector += torch.rand(1)


@learner("load_state_dict does not restore")
class ForgetsState(DoubleDQN):
    def load_state_dict(self, state: Any) -> None:
        pass


@learner('values, declared as "values", raised NotImplementedError', capabilities=("replay", "discrete", "values"))
class NoValues(DoubleDQN):
    pass


# --- world models ---------------------------------------------------------------------------------------------------------------------


def model(text: str, **declared: Any) -> Callable[[Any], Any]:
    return breaks("world_model", GPSettings, text, lambda settings: check_world_model(settings, False), {"features": 20}, **declared)


@model("the sums of two agents differ from the sums over all their data")
class MeanStatistics(GPModel):
    def statistics(self) -> Any:
        return super().statistics() / max(1, self.transitions)


@model("check accepts sums that are not finite; raise ValueError with the reason")
class ChecksNothing(GPModel):
    def check(self, vector: Any) -> None:
        pass


@model("a model that uses the sum over two agents predicts differently from a model of all their data")
class IgnoresTotal(GPModel):
    def use(self, total: Any, complete: bool) -> None:
        if len(total) != len(self.statistics()):
            raise ValueError("length")


@model("error of the linear system is ")
class PredictsChange(GPModel):
    def error(self, data: Any) -> float:
        return super().error(data) + 1.0


@model("sample differs for two equal generators; draw from `random` only")
class OwnNoise(GPModel):
    noise = np.random.default_rng(0)

    def sample(self, observation: Any, action: Any, random: Any) -> Any:
        return super().sample(observation, action, self.noise)


# --- goals ----------------------------------------------------------------------------------------------------------------------------


def source(text: str) -> Callable[[Any], Any]:
    return breaks("goals", GoalSourceSettings, text, check_goal_source)


@source("FewMethods does not implement probabilities, propose of agent_node.contracts.goal_contracts.GoalSource; add these methods")
class FewMethods(GoalSource):
    pass


@source("propose returned 6; return an integer from 0 to 5")
class OutOfRange(UniformGoals):
    def propose(self, random: Any) -> int:
        return 6


@source("probabilities() sums to 6")
class NoDistribution(UniformGoals):
    def probabilities(self) -> Any:
        return np.ones(6)


class FarReward(DiscreteGoals):
    def compute_reward(self, achieved: Any, desired: Any) -> Any:
        reward = super().compute_reward(achieved, desired)
        return (reward - reward.mean()).astype(np.float32)


class SameCodes(DiscreteGoals):
    def encode(self, goal: Any) -> Any:
        return super().encode(np.minimum(goal, 0))


BROKEN["FarReward"] = (lambda: check_goal_space(FarReward(4)), "another reward among other rows than alone")
BROKEN["SameCodes"] = (lambda: check_goal_space(SameCodes(4)), "two goals have the same encoding; encode each goal differently")

# --- negotiation, intrinsic reward ----------------------------------------------------------------------------------------------------


@breaks("negotiation", NegotiationSettings, "lead returned 6; return an integer from 0 to 5", check_negotiation)
class BeyondVocabulary(EpisodeNegotiation):
    def __init__(self, settings: Any, goals: int, seed: int) -> None:
        self.settings = settings
        self.vocabulary_size = goals

    @property
    def vocabulary(self) -> int:
        return self.vocabulary_size

    def lead(self, goal: int, random: Any) -> int:
        return goal + 1

    def follow(self, message: int, random: Any) -> int:
        return min(message, 5)


@breaks("curiosity", CuriositySettings, "DoubleReward does not implement learn, reward", check_intrinsic_reward)
class DoubleReward(__import__("agent_node.contracts", fromlist=["x"]).IntrinsicReward):  # type: ignore[misc]
    pass


# --- averaging rules ------------------------------------------------------------------------------------------------------------------


def rule(text: str) -> Callable[[Any], Any]:
    return breaks("averaging_rule", VectorRuleSettings, text, check_averaging_rule)


@rule("equal vectors give an update other than 0; return an update, not the new vector")
def new_vector(own: Any, neighbours: Any, weights: Any, settings: Any) -> Any:
    return neighbours.mean(axis=0)


@rule("the update depends on the order of the neighbours")
def first_neighbour(own: Any, neighbours: Any, weights: Any, settings: Any) -> Any:
    return 0.5 * (neighbours[0] - own)


@rule("the rule changes its arguments")
def in_place(own: Any, neighbours: Any, weights: Any, settings: Any) -> Any:
    neighbours -= own
    return weights @ neighbours


@rule("agents in a complete graph differ by")
def repulsion(own: Any, neighbours: Any, weights: Any, settings: Any) -> Any:
    return 0.1 * (own - neighbours.mean(axis=0))


# --- environments ---------------------------------------------------------------------------------------------------------------------


def environment(text: str) -> Callable[[Any], Any]:
    def decorate(made: Any) -> Any:
        kind = made.__name__.lower()
        body = {"__module__": __name__, "__annotations__": {"kind": Literal[kind]}, "kind": kind, "__doc__": "Broken."}
        settings = type(f"{made.__name__}Options", (RewardCollectionOptions,), body)
        globals()[f"create_{kind}"] = lambda context: made(context.options, context.agents, context.copies, context.seed)
        register("environment", kind, settings, f"{__name__}:create_{kind}")
        BROKEN[made.__name__] = (lambda: check_environment(kind, {"horizon": 10}), text)
        return made

    return decorate


@environment("equal seeds and actions give different results; draw from `seed` and the episode number only")
class Unseeded(VectorRewardCollection):
    noise = np.random.default_rng(0)

    def step(self, actions: Any) -> Any:
        result = super().step(actions)
        for batch in result.agents.values():
            batch.reward += self.noise.random(batch.reward.shape).astype(np.float32)
        return result


@environment("reward of agent-0 has dtype float64; return float32")
class DoubleRewards(VectorRewardCollection):
    def step(self, actions: Any) -> Any:
        result = super().step(actions)
        for batch in result.agents.values():
            batch.reward = batch.reward.astype(np.float64)  # type: ignore[assignment]
        return result


@environment("a step after the episode is over; begin the next episode with Flag.FIRST at the tick after Flag.OVER")
class NoFirst(VectorRewardCollection):
    def step(self, actions: Any) -> Any:
        result = super().step(actions)
        for batch in result.agents.values():
            batch.flags &= ~np.uint16(2)
        return result


@environment("is played twice; count episodes over all copies")
class RepeatedEpisodes(VectorRewardCollection):
    def step(self, actions: Any) -> Any:
        result = super().step(actions)
        result.episode[:] = 100 + (result.episode - 100) % 9
        return result


@environment("no episode after evaluate(...) has Flag.EVALUATION; mark evaluations by this flag")
class NoEvaluations(VectorRewardCollection):
    def evaluate(self, episodes: int, aligned: bool) -> None:
        pass


@environment("and finished() reports")
class WrongRecords(VectorRewardCollection):
    def finished(self) -> Any:
        from dataclasses import replace

        return [replace(record, lengths=tuple(length + 1 for length in record.lengths)) for record in super().finished()]


# --- conversations --------------------------------------------------------------------------------------------------------------------


class Ping(Message):
    """A message with a route."""

    number: Annotated[int, Meta(ge=0, le=1000)]


class Pong(Message):
    """A message without a route."""

    number: Annotated[int, Meta(ge=0, le=1000)]


register_conversation("pings", route("peer", "agent", "agent", Ping))


class Pings(EdgeConversation[int]):
    """Correct; the classes below break one rule each."""

    message_types = (Ping,)

    def __init__(self, name: str, neighbours: Any) -> None:
        super().__init__()
        self.neighbours, self.alive = list(neighbours), set[str]()

    def ping(self, turn: int) -> None:
        self._sends += [Send(peer, Ping(number=turn)) for peer in sorted(self.alive)]

    def _receive(self, src: str, message: Any, arrays: Any, now: float) -> None:
        if src in self.neighbours:
            self._events.append(message.number)

    def tick(self, now: float) -> None:
        pass

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        self.alive.add(peer)

    def peer_dead(self, peer: str, now: float) -> None:
        self.alive.discard(peer)


def conversation(text: str) -> Callable[[Any], Any]:
    def decorate(machine: Any) -> Any:
        BROKEN[machine.__name__] = (lambda: check_conversation(machine, lambda one, turn, now: one.ping(turn)), text)
        return machine

    return decorate


@conversation("Pong has no route from agent to agent on the channel peer; call register_conversation")
class Unrouted(Pings):
    message_types = (Pong,)


@conversation("raised KeyError: 'vector'")
class NeedsFrame(Pings):
    def ping(self, turn: int) -> None:
        self._sends += [Send(peer, Ping(number=turn), {"vector": np.ones(3)}) for peer in sorted(self.alive)]

    def _receive(self, src: str, message: Any, arrays: Any, now: float) -> None:
        self._events.append(int(arrays["vector"].sum()))


@conversation("a message of an unknown sender is answered")
class AnswersAll(Pings):
    def _receive(self, src: str, message: Any, arrays: Any, now: float) -> None:
        if message.number < 100:
            self._sends.append(Send(src, Ping(number=message.number + 100)))


@conversation("tick sends or reports something before the time that wake() returns")
class EarlyTick(Pings):
    def tick(self, now: float) -> None:
        self.ping(1)


@conversation("messages go to a dead peer; remove the peer in `peer_dead`")
class SendsToDead(Pings):
    def peer_dead(self, peer: str, now: float) -> None:
        pass


@conversation("equal inputs give different messages or events")
class Drawn(Pings):
    noise = np.random.default_rng(0)

    def ping(self, turn: int) -> None:
        super().ping(int(self.noise.integers(1000)))


@conversation("keep within the bounds of its fields")
class TooLarge(Pings):
    def ping(self, turn: int) -> None:
        super().ping(5000)


class Options(Settings):
    """Not registered."""

    kind: Literal["unregistered"] = "unregistered"


BROKEN["Options"] = (lambda: check_learner(Options()), "nothing of kind 'unregistered' is registered in the room learner; call register(")  # type: ignore[arg-type]


def main() -> None:
    """Check all, and print what each check reported as JSON."""
    check_conversation(Pings, lambda machine, turn, now: machine.ping(turn))  # the correct one
    results: dict[str, dict[str, str]] = {}
    for name, (check, expected) in BROKEN.items():
        try:
            check()
        except ContractError as error:
            results[name] = {"expected": expected, "text": str(error), "rule": error.rule, "cure": error.cure}
        else:
            results[name] = {"expected": expected, "text": "no error", "rule": "", "cure": ""}
    print(json.dumps(results))
