"""The learning components of an agent, constructed from its settings and the layout of its environment.

A room's constructor arguments are those that its contract documents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch

from agent_node.contracts import Component, EntityGroup, PolicySpec, Team, WorldModel, with_prefix
from agent_node.learners.settings import RolloutSettings
from agent_node.memory.dataset_replay import DatasetReplay
from agent_node.memory.joint_replay import JointReplay, JointRollouts
from agent_node.memory.replay_buffer import ImportedReplay, ReplayBuffer
from agent_node.memory.rollout_buffer import RolloutBuffer
from agent_node.session.observation_features import Features
from agent_node.session.reward_composition import RewardComposition
from agent_node.session.roles import (
    CURIOSITY,
    GOAL_SOURCE,
    IMITATION,
    IMPORTED_REPLAY,
    JOINT_REPLAY,
    JOINT_ROLLOUTS,
    LEARNER,
    NEGOTIATION,
    OPTIMISM,
    REPLAY,
    REPLAY_REWARD,
    REWARDS,
    ROLLOUT,
    TEACHER,
    WORLD_MODEL,
    Kind,
    Role,
    rank,
)
from agent_node.session.transition_batches import GoalEncodings, goal_encodings
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from agent_node.world_models.imagination.world_model_component import WorldModelComponent
from protocols.datasets.settings import DatasetSettings
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream, generator, integer
from protocols.spaces.goal_space import DiscreteSpace, goal_space
from protocols.spaces.layout import Layout


class AgentComponents:
    """An agent's components by role, iterated in the order of `agent_node.session.roles.ORDER`.

    `seed` is the run's; `name` selects the agent's own random streams, and `stream_epoch` (see `protocols.runtime.seeds`) those whose state
    is not in checkpoints. `party`: members of an episode with goals, so that the replay buffer stores the goal of each partner. `layouts`:
    of all agents of the run by name, for learners with the capability "joint". With a `dataset` its shard takes the place of the replay
    buffer.
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
        layouts: Mapping[str, Layout] = MappingProxyType({}),
        dataset: DatasetSettings | None = None,
    ) -> None:
        self.settings, self.exchange, self.layout, self.copies = settings, exchange, layout, copies
        self.name, self.seed, self.stream_epoch, self.dataset = name, seed, stream_epoch, dataset
        self.partners = max(1, party - 1)
        self._layouts = layouts
        self.features = Features(layout, settings.history, settings.frequencies)
        self.space = None if layout.goals is None else goal_space(layout.goals)
        self.random = {key: generator(seed, name, stream) for key, stream in _KEPT_STREAMS.items()}
        """generators whose state is in checkpoints"""
        self._by_role: dict[str, Component] = {}
        for role, component in _components(self):
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
        spec = replace(self.features.policy_spec(self.encodings.shape[1]), team=self.team)
        try:
            entities = self.settings.entity_components(self.features.size - self.features.mask)
        except ValueError as error:
            raise ConfigurationError(f"agents.entities: {error}") from None
        spec = replace(spec, entities=tuple(EntityGroup(name, tuple(places)) for name, places in entities.items()))
        return spec if optimism is None else replace(spec, hallucinated=optimism.hallucinated)

    @cached_property
    def team_features(self) -> dict[str, Features]:
        """Of each agent of the run, for learners with the capability "joint": how its observations become features. All agents have the
        same `history` and `frequencies`."""
        settings, layouts = self.settings, self._layouts
        return {name: Features(layouts[name], settings.history, settings.frequencies) for name in sorted(layouts)}

    @cached_property
    def team(self) -> Team | None:
        """All agents of the run, for learners with the capability "joint"; None for others."""
        if "joint" not in self.settings.learner.capabilities:
            return None
        if self.name not in self._layouts:
            raise ConfigurationError(f"agents.learner: {self.settings.learner.kind} needs the layouts of all agents of the run")
        names = tuple(self.team_features)
        return Team(names, names.index(self.name), tuple(features.policy_spec() for features in self.team_features.values()))

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

    def load_learnt(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Restore the learner and the world model only, as far as there are both here and in `tensors`."""
        stored = {name.partition("/")[0] for name in tensors} & set(self.roles)
        self.load_roles(tensors, [role.name for role in (LEARNER, WORLD_MODEL) if role.name in stored])

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


def _components(agent: AgentComponents) -> Iterator[tuple[Role[Any], Component]]:
    """The components that the settings ask for. Each is constructed when `agent` has those before it."""
    settings, exchange, features, space = agent.settings, agent.exchange, agent.features, agent.space
    if (teacher := settings.teacher) is not None:
        if space is not None:
            raise ConfigurationError("agents.teacher: the environment has goals of its own; write null")
        initial, explore = agent.initial_seed(teacher.groups, Stream.TEACHER), agent.own_seed(Stream.TEACHER, agent.stream_epoch + 1)
        yield TEACHER, create("teacher", teacher)(teacher, features.grids, agent.copies, explore, initial)
    if (optimism := settings.optimism) is not None:
        yield OPTIMISM, create("optimism", optimism)(optimism, features, agent.own_seed(Stream.GOALS))

    learner, model = settings.learner, settings.world_model
    explore = agent.own_seed(Stream.EXPLORATION, agent.stream_epoch)
    initial = agent.initial_seed(learner.groups, Stream.INITIAL_PARAMETERS)
    yield LEARNER, create("learner", learner)(learner, agent.policy_spec, agent.copies, explore, initial)
    capabilities = agent[LEARNER].capabilities
    if agent.team is not None:
        if "replay" in capabilities:
            rows = settings.buffer.transitions if agent.dataset is None else None
            yield JOINT_REPLAY, JointReplay(rows, agent.team.specs, agent.team.own)
        else:
            yield JOINT_ROLLOUTS, JointRollouts(cast(RolloutSettings, learner).steps * agent.copies, agent.team.own)
    elif "replay" in capabilities or model is not None:
        held_out, priorities = model.held_out if model else 0.0, getattr(learner, "prioritized_replay", None)
        extras = (learner.discount if "relative_return" in capabilities else None, "next_action" in capabilities)
        if agent.dataset is not None:
            yield REPLAY, DatasetReplay(Path(agent.dataset.path), features, held_out, priorities, *extras)
        else:
            yield REPLAY, ReplayBuffer(settings.buffer.transitions, features, space, held_out, agent.partners, priorities, *extras)
    if "rollout" in capabilities and agent.team is None:
        steps, shape = cast(RolloutSettings, learner).steps, () if space is None else space.goal_shape
        late = teacher is not None
        yield ROLLOUT, RolloutBuffer(steps, agent.copies, features.width, features.action_size, features.discrete, late, shape)
    if (curiosity := settings.curiosity) is not None:
        yield CURIOSITY, create("curiosity", curiosity)(curiosity, agent.policy_spec, agent.copies, agent.own_seed(Stream.CURIOSITY))
    if teacher is not None or curiosity is not None or settings.shaping is not None:
        if agent.get(ROLLOUT) is None:
            text = f"learner {learner.kind} uses no rollouts, and teachers, curiosity and shaping change only their rewards"
            raise ConfigurationError(f"agents.learner: {text}; choose impala or ppo")
        yield REWARDS, RewardComposition(agent.get(TEACHER), agent.get(CURIOSITY), settings.shaping, agent.copies)

    if (bonus := settings.replay_reward) is not None:
        if lacking := {"replay", *bonus.capabilities} - set(capabilities):
            text = f"{bonus.kind} needs a learner with {', '.join(sorted(lacking))}, and {learner.kind} has none of it"
            raise ConfigurationError(f"agents.replay_reward: {text}; write null, or choose another learner")
        explore, initial = agent.own_seed(Stream.REPLAY_REWARD, agent.stream_epoch), agent.initial_seed(bonus.groups, Stream.REPLAY_REWARD)
        yield REPLAY_REWARD, create("replay_reward", bonus)(bonus, agent.policy_spec, explore, initial)

    if (imitation := settings.imitation) is not None:
        if space is not None or teacher is not None or "imitation" not in capabilities:
            text = f"own episodes are imitated by learners with imitation, without goals and teachers; learner {learner.kind} is"
            raise ConfigurationError(f"agents.imitation: {text} {', '.join(capabilities)}; write null")
        yield IMITATION, create("imitation", imitation)(imitation, features, agent.own_seed(Stream.IMITATION, agent.stream_epoch))

    if model is not None:
        discrete = space if isinstance(space, DiscreteSpace) else None
        if space is not None and discrete is None and model.imagined_ratio > 0:
            text = "imagined transitions are relabelled for discrete goals only, and this environment has vector goals"
            raise ConfigurationError(f"agents.world_model: {text}; write imagined_ratio: 0, or world_model: null")
        achieved, initial = discrete.achieved_size if discrete else 0, agent.initial_seed(model.groups, Stream.WORLD_MODEL)
        world: WorldModel = create("world_model", model)(model, features, achieved, initial)
        seed, optimistic = agent.own_seed(Stream.IMAGINATION, agent.stream_epoch), agent.get(OPTIMISM)
        yield WORLD_MODEL, WorldModelComponent(model, world, agent[LEARNER], agent[REPLAY], agent.layout, discrete, optimistic, seed)

    if space is not None:
        if (goals := settings.goals) is None:
            raise ConfigurationError("agents.goals is null, but the environment has goals; write {kind: uniform}")
        yield GOAL_SOURCE, create("goals", goals)(goals, space.count or space)
        if (table := exchange.negotiation) is not None and space.count and "episode_goals" in table.capabilities:
            yield NEGOTIATION, create("negotiation", table)(table, space.count, agent.own_seed(Stream.GOALS))
    if (shared := exchange.experience) is not None and "replay" in capabilities:
        yield IMPORTED_REPLAY, ImportedReplay(shared.transitions, features)
