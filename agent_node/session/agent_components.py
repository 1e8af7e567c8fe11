"""The learning components of an agent, constructed from its settings and the layout of its environment.

A room's constructor arguments are those that its contract documents. Each builder below looks up only components that were built before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import torch

from agent_node.contracts import Component, EpisodeNegotiation, GoalSource, IntrinsicReward, Learner, PolicySpec, Teacher, with_prefix
from agent_node.learners.settings import RolloutSettings
from agent_node.memory.episode_recorder import Episode
from agent_node.memory.replay.replay_buffer import ImportedReplay, ReplayBuffer
from agent_node.memory.rollout.rollout_buffer import RolloutBuffer
from agent_node.session.observation_features import Features
from agent_node.session.reward_composition import RewardComposition
from agent_node.session.roles import (
    CURIOSITY,
    GOAL_SOURCE,
    IMPORTED_REPLAY,
    LEARNER,
    NEGOTIATION,
    OPTIMISM,
    REPLAY,
    REWARDS,
    ROLLOUT,
    TEACHER,
    WORLD_MODEL,
    Kind,
    Role,
    rank,
)
from agent_node.session.training_batches import GoalEncodings, goal_encodings
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from agent_node.world_models.imagination.optimism import Optimism
from agent_node.world_models.imagination.world_model_component import WorldModelComponent
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream, generator, integer
from protocols.spaces.goal_space import DiscreteSpace, goal_space
from protocols.spaces.layout import Layout


class AgentComponents:
    """An agent's components by role, iterated in the order of `agent_node.session.roles.ORDER`.

    `seed` is the run's; `name` selects the agent's own random streams, and `stream_epoch` (see `protocols.runtime.seeds`) those whose state
    is not in checkpoints. `party`: members of an episode with goals, so that the replay buffer stores the goal of each partner.
    """

    def __init__(
        self,
        settings: AgentSettings,
        exchange: ExchangeSettings,
        layout: Layout,
        copies: int,
        name: str,
        seed: int,
        stream_epoch: int = 0,
        party: int = 2,
    ) -> None:
        self.settings, self.exchange, self.layout, self.copies = settings, exchange, layout, copies
        self.name, self.seed, self.stream_epoch = name, seed, stream_epoch
        self.partners = max(1, party - 1)
        self.features = Features(layout, settings.history, settings.frequencies)
        self.space = None if layout.goals is None else goal_space(layout.goals)
        self.random = {key: generator(seed, name, stream) for key, stream in _KEPT_STREAMS.items()}
        """generators whose state is in checkpoints"""
        self._by_role: dict[str, Component] = {}
        for role, build in _BUILDERS:
            component = build(self)
            if component is not None:
                self.add(role.name, component)

    @cached_property
    def encodings(self) -> GoalEncodings:
        """`[|G| + 1, L]`: the encoding of each goal; the last row is that of no goal."""
        teacher = self.get(TEACHER)
        found: GoalEncodings = goal_encodings(self.space, 0 if teacher is None else teacher.goal_length)
        return found

    @cached_property
    def policy_spec(self) -> PolicySpec:
        """What the learner is built for."""
        optimism = self.get(OPTIMISM)
        spec = self.features.policy_spec(self.encodings.shape[1])
        return spec if optimism is None else replace(spec, hallucinated=optimism.hallucinated)

    # --- components by role ---------------------------------------------------------------------------------------------------------

    def add(self, name: str, component: Component) -> None:
        """Give a component the role of that name; `ConfigurationError` where another component has it."""
        if name in self._by_role:
            raise ConfigurationError(f"two components have the role {name}")
        self._by_role[name] = component
        self._by_role = dict(sorted(self._by_role.items(), key=lambda item: rank(item[0])))

    def get(self, role: Role[Kind]) -> Kind | None:
        """The component of a role; None where the agent has none."""
        return cast(Kind | None, self._by_role.get(role.name))

    def __getitem__(self, role: Role[Kind]) -> Kind:
        """The component of a role; `KeyError` where the agent has none."""
        return cast(Kind, self._by_role[role.name])

    def __iter__(self) -> Iterator[Component]:
        return iter(self._by_role.values())

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the roles that have a component."""
        return tuple(self._by_role)

    # --- lifecycle ------------------------------------------------------------------------------------------------------------------

    def episode_ended(self, episode: Episode) -> None:
        """An own episode ended."""
        for component in self:
            component.episode_ended(episode)

    def metrics(self) -> dict[str, float]:
        """Metrics of all components since the last call."""
        return {name: value for component in self for name, value in component.metrics().items()}

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors by `ROLE/NAME`, and the states of `random` for the manifest."""
        found = {f"{role}/{name}": tensor for role, component in self._by_role.items() for name, tensor in component.state_dict().items()}
        return found, {"random": {name: random.bit_generator.state for name, random in self.random.items()}}

    def load(self, tensors: Mapping[str, torch.Tensor], manifest: Mapping[str, Any]) -> None:
        """Restore all components and `random`; `ValueError` where something does not fit these settings."""
        self.load_roles(tensors, self.roles)
        for name, state in manifest["random"].items():
            if name in self.random:
                self.random[name].bit_generator.state = state

    def load_roles(self, tensors: Mapping[str, torch.Tensor], roles: Collection[str]) -> None:
        """Restore the components of these roles."""
        for name in roles:
            self._by_role[name].load_state_dict(with_prefix(f"{name}/", tensors))

    # --- seeds ----------------------------------------------------------------------------------------------------------------------

    def initial_seed(self, groups: Collection[str], stream: Stream) -> int:
        """Seed of first parameters. Groups that are averaged start equal at all agents: the mean of differently drawn networks is a network
        with smaller weights that computes none of their functions."""
        averaged = self.exchange.consensus.groups if self.exchange.consensus else []
        return integer(self.seed, "agents" if set(averaged) & set(groups) else self.name, stream)

    def own_seed(self, stream: Stream, epoch: int = 0) -> int:
        """Seed of one of the agent's own streams."""
        return integer(self.seed, self.name, stream, epoch)


_KEPT_STREAMS = {"buffer": Stream.BUFFER, "model": Stream.WORLD_MODEL}


def _teacher(agent: AgentComponents) -> Teacher | None:
    settings = agent.settings.teacher
    if settings is None:
        return None
    if agent.space is not None:
        raise ConfigurationError("agents.teacher: the environment has goals of its own; write null")
    initial, explore = agent.initial_seed(settings.groups, Stream.TEACHER), agent.own_seed(Stream.TEACHER, agent.stream_epoch + 1)
    teacher: Teacher = create("teacher", settings)(settings, agent.features.grids, agent.copies, explore, initial)
    return teacher


def _optimism(agent: AgentComponents) -> Optimism | None:
    settings = agent.settings.optimism
    if settings is None:
        return None
    optimism: Optimism = create("optimism", settings)(settings, agent.features, agent.own_seed(Stream.GOALS))
    return optimism


def _learner(agent: AgentComponents) -> Learner:
    settings = agent.settings.learner
    explore = agent.own_seed(Stream.EXPLORATION, agent.stream_epoch)
    initial = agent.initial_seed(settings.groups, Stream.INITIAL_PARAMETERS)
    learner: Learner = create("learner", settings)(settings, agent.policy_spec, agent.copies, explore, initial)
    return learner


def _replay(agent: AgentComponents) -> ReplayBuffer | None:
    model = agent.settings.world_model
    if "replay" not in agent[LEARNER].capabilities and model is None:
        return None
    held_out = model.held_out if model else 0.0
    return ReplayBuffer(agent.settings.buffer.transitions, agent.features, agent.space, held_out, agent.partners)


def _rollout(agent: AgentComponents) -> RolloutBuffer | None:
    if "rollout" not in agent[LEARNER].capabilities:
        return None
    features, steps = agent.features, cast(RolloutSettings, agent.settings.learner).steps
    late, shape = agent.get(TEACHER) is not None, () if agent.space is None else agent.space.goal_shape
    return RolloutBuffer(steps, agent.copies, features.width, features.action_size, features.discrete, late, shape)


def _curiosity(agent: AgentComponents) -> IntrinsicReward | None:
    settings = agent.settings.curiosity
    if settings is None:
        return None
    seed = agent.own_seed(Stream.CURIOSITY)
    curiosity: IntrinsicReward = create("curiosity", settings)(settings, agent.policy_spec, agent.copies, seed)
    return curiosity


def _rewards(agent: AgentComponents) -> RewardComposition | None:
    teacher, curiosity, shaping = agent.get(TEACHER), agent.get(CURIOSITY), agent.settings.shaping
    if teacher is None and curiosity is None and shaping is None:
        return None
    if agent.get(ROLLOUT) is None:
        text = f"learner {agent.settings.learner.kind} uses no rollouts, and teachers, curiosity and shaping change only their rewards"
        raise ConfigurationError(f"agents.learner: {text}; choose impala or ppo")
    return RewardComposition(teacher, curiosity, shaping, agent.copies)


def _world_model(agent: AgentComponents) -> WorldModelComponent | None:
    settings, replay = agent.settings.world_model, agent.get(REPLAY)
    if settings is None or replay is None:
        return None
    discrete = agent.space if isinstance(agent.space, DiscreteSpace) else None
    if agent.space is not None and discrete is None and settings.imagined_ratio > 0:
        text = "imagined transitions are relabelled for discrete goals only, and this environment has vector goals"
        raise ConfigurationError(f"agents.world_model: {text}; write imagined_ratio: 0, or world_model: null")
    achieved, first = discrete.achieved_size if discrete else 0, agent.initial_seed(settings.groups, Stream.WORLD_MODEL)
    model = create("world_model", settings)(settings, agent.features, achieved, first)
    seed = agent.own_seed(Stream.IMAGINATION, agent.stream_epoch)
    return WorldModelComponent(settings, model, agent[LEARNER], replay, agent.layout, discrete, agent.get(OPTIMISM), seed)


def _goal_source(agent: AgentComponents) -> GoalSource | None:
    settings = agent.settings.goals
    if agent.space is None:
        return None
    if settings is None:
        raise ConfigurationError("agents.goals is null, but the environment has goals; write {kind: uniform}")
    source: GoalSource = create("goals", settings)(settings, agent.space.count or agent.space)
    return source


def _negotiation(agent: AgentComponents) -> EpisodeNegotiation | None:
    settings = agent.exchange.negotiation
    if agent.space is None or not agent.space.count or settings is None or "episode_goals" not in settings.capabilities:
        return None
    negotiation: EpisodeNegotiation = create("negotiation", settings)(settings, agent.space.count, agent.own_seed(Stream.GOALS))
    return negotiation


def _imported_replay(agent: AgentComponents) -> ImportedReplay | None:
    """Transitions of neighbours (`exchange.experience`) or segments of partners (`exchange.hindsight.segments`)."""
    exchange, hindsight = agent.exchange, agent.exchange.hindsight
    received = exchange.experience if agent.space is None else hindsight.segments if hindsight is not None else None
    if received is None or "replay" not in agent[LEARNER].capabilities:
        return None
    saved = exchange.experience is not None  # neighbours do not send them again
    return ImportedReplay(received.transitions, agent.features, agent.space, partners=agent.partners, saved=saved)


_BUILDERS: tuple[tuple[Role[Any], Callable[[AgentComponents], Component | None]], ...] = (
    (TEACHER, _teacher),
    (OPTIMISM, _optimism),
    (LEARNER, _learner),
    (REPLAY, _replay),
    (ROLLOUT, _rollout),
    (CURIOSITY, _curiosity),
    (REWARDS, _rewards),
    (WORLD_MODEL, _world_model),
    (GOAL_SOURCE, _goal_source),
    (NEGOTIATION, _negotiation),
    (IMPORTED_REPLAY, _imported_replay),
)
