"""An agent's parts, put together from its settings once it knows what it sees and does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from agent_node.contracts import Batch, GoalSource, IntrinsicReward, Learner, Teacher, WorldModel
from agent_node.exchange.negotiation.coordination_game import CoordinationGame
from agent_node.learners.settings import RolloutSettings
from agent_node.memory.episode_recorder import Episode
from agent_node.memory.replay.replay_buffer import ReplayBuffer, TransitionSample
from agent_node.memory.rollout.rollout_buffer import RolloutBuffer
from agent_node.session.observation_features import Features
from agent_node.session.reward_composition import RewardComposition
from agent_node.session.training_batches import GoalEncodings, goal_encodings, make_batch, rollout_batch
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from agent_node.world_models.imagination.optimism import Optimism
from agent_node.world_models.imagination.world_model_component import WorldModelComponent
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream, generator, integer
from protocols.spaces.goal_space import DiscreteSpace, GoalSpace, goal_space
from protocols.spaces.layout import Layout


@dataclass
class SessionComponents:
    """Everything that learns or remembers in one agent."""

    settings: AgentSettings
    exchange: ExchangeSettings
    features: Features
    space: GoalSpace | None
    learner: Learner
    world: WorldModelComponent | None
    """the world model, and what is made of it"""
    buffer: ReplayBuffer | None
    """what the learner or the world model remembers; None where neither learns from memory"""
    imported: ReplayBuffer | None
    """what partners or neighbours told of their steps; None where nobody does, or where the learner does not learn from memory"""
    rollouts: RolloutBuffer | None
    """the newest steps, for a learner that takes each once"""
    source: GoalSource | None
    game: CoordinationGame | None
    motivation: RewardComposition | None
    """who sets the policy goals and pays it, beside the environment; None where nobody does"""
    encodings: GoalEncodings
    """`[|G| + 1, L]`: every goal as the policy sees it; the last row stands for none"""
    random: dict[str, np.random.Generator]

    @classmethod
    def build(
        cls,
        settings: AgentSettings,
        exchange: ExchangeSettings,
        layout: Layout,
        copies: int,
        name: str,
        seed: int,
        stream_epoch: int = 0,
        party: int = 2,
    ) -> SessionComponents:
        """Create every part. `seed` is the run's; `name` makes this agent's streams its own, and `stream_epoch` (see
        `protocols.runtime.seeds`) those
        that no checkpoint keeps. `party`: members of an episode with goals, so that the buffer has room for what each partner wanted.

        Groups that are averaged start equal at all agents: the mean of differently drawn networks is a smaller network that is nobody's.
        """
        features = Features(layout, settings.history, settings.frequencies)
        space = None if layout.goals is None else goal_space(layout.goals)
        averaged = exchange.consensus.groups if exchange.consensus else []
        teacher = cls._teacher(settings, features, space, copies, name, seed, stream_epoch, averaged)
        encodings = goal_encodings(space, 0 if teacher is None else teacher.goal_length)
        policy_spec = features.policy_spec(encodings.shape[1])
        optimism: Optimism | None = None
        if settings.optimism is not None:
            optimism = create("optimism", settings.optimism)(settings.optimism, features, integer(seed, name, Stream.GOALS))
            policy_spec = replace(policy_spec, hallucinated=optimism.hallucinated)
        learner: Learner = create("learner", settings.learner)(
            settings.learner,
            policy_spec,
            copies,
            integer(seed, name, Stream.EXPLORATION, stream_epoch),
            integer(seed, "agents" if set(averaged) & {"policy", "critic"} else name, Stream.INITIAL_PARAMETERS),
        )
        held_out = settings.world_model.held_out if settings.world_model else 0.0
        buffer: ReplayBuffer | None = None
        if learner.wants == "replay" or settings.world_model is not None:
            buffer = ReplayBuffer(settings.buffer.transitions, features, space, held_out, partners=max(1, party - 1))
        rollouts: RolloutBuffer | None = None
        if isinstance(settings.learner, RolloutSettings):
            size, late = features.action_size, teacher is not None
            shape = () if space is None else space.goal_shape
            rollouts = RolloutBuffer(settings.learner.steps, copies, features.width, size, features.discrete, late, shape)
        curiosity: IntrinsicReward | None = None
        if settings.curiosity is not None:
            new = integer(seed, name, Stream.CURIOSITY)
            curiosity = create("curiosity", settings.curiosity)(settings.curiosity, policy_spec, copies, new)
        motivation: RewardComposition | None = None
        if RewardComposition.needed(settings):
            if rollouts is None:
                text = f"learner {settings.learner.kind} takes no rollouts, to which alone teachers, curiosity and shaping add"
                raise ConfigurationError(f"agents.learner: {text}; choose impala or ppo")
            motivation = RewardComposition(teacher, curiosity, settings.shaping, copies)
        world: WorldModelComponent | None = None
        if settings.world_model is not None and buffer is not None:
            whose = "agents" if "world_model" in averaged else name
            discrete = space if isinstance(space, DiscreteSpace) else None
            if space is not None and discrete is None and settings.world_model.imagined_ratio > 0:
                text = "imagined transitions are relabelled for discrete goals only, and this environment has vector goals"
                raise ConfigurationError(f"agents.world_model: {text}; write imagined_ratio: 0, or world_model: null")
            achieved_size = discrete.achieved_size if discrete else 0
            model: WorldModel = create("world_model", settings.world_model)(
                settings.world_model, features, achieved_size, integer(seed, whose, Stream.WORLD_MODEL)
            )
            imagination_seed = integer(seed, name, Stream.IMAGINATION, stream_epoch)
            world = WorldModelComponent(settings.world_model, model, learner, buffer, layout, discrete, optimism, imagination_seed)
        if space is not None and settings.goals is None:
            raise ConfigurationError("agents.goals is null, but the environment has goals; write {kind: uniform}")
        source: GoalSource | None = None
        if space is not None and settings.goals is not None:
            source = create("goals", settings.goals)(settings.goals, space.count or space)
        game: CoordinationGame | None = None
        if space is not None and space.count and exchange.negotiation is not None and "episode_goals" in exchange.negotiation.capabilities:
            game = create("negotiation", exchange.negotiation)(exchange.negotiation, space.count, integer(seed, name, Stream.GOALS))
        streams = {"buffer": Stream.BUFFER, "model": Stream.WORLD_MODEL}
        random = {key: generator(seed, name, stream) for key, stream in streams.items()}
        told = exchange.experience if space is None else exchange.hindsight.segments if exchange.hindsight is not None else None
        imported: ReplayBuffer | None = None
        if told is not None and learner.wants == "replay":
            imported = ReplayBuffer(told.transitions, features, space, partners=max(1, party - 1))
        return cls(
            settings, exchange, features, space, learner, world, buffer, imported, rollouts, source, game, motivation, encodings, random
        )

    @staticmethod
    def _teacher(
        settings: AgentSettings,
        features: Features,
        space: GoalSpace | None,
        copies: int,
        name: str,
        seed: int,
        stream_epoch: int,
        averaged: Sequence[str],
    ) -> Teacher | None:
        """The teacher; `ConfigurationError` where the environment sets goals itself."""
        if settings.teacher is None:
            return None
        if space is not None:
            raise ConfigurationError("agents.teacher: the environment has goals of its own; write null")
        initial = integer(seed, "agents" if "teacher" in averaged else name, Stream.TEACHER)
        explore = integer(seed, name, Stream.TEACHER, stream_epoch + 1)
        teacher: Teacher = create("teacher", settings.teacher)(settings.teacher, features.grids, copies, explore, initial)
        return teacher

    def batch(self, size: int) -> Batch:
        """A batch of remembered transitions, a share of them relabelled, and of imagined ones. `ValueError` without a memory."""
        if self.buffer is None:
            raise ValueError("this agent remembers no transitions; ask it for rollouts")
        world, num_imagined = self.world, 0
        if world is not None and world.imagines:
            num_imagined = round(size * world.settings.imagined_ratio)
        samples = self._samples(self.buffer, size - num_imagined) if num_imagined < size else []
        if world is not None:
            for sample in samples:
                world.add_optimistic_prediction(sample)
            if num_imagined:
                samples.append(world.imagined(num_imagined))
        imagined = [False] * (len(samples) - bool(num_imagined)) + [True] * bool(num_imagined)
        return make_batch(samples, imagined, self.features, self.encodings)

    @property
    def model(self) -> WorldModel | None:
        """The world model."""
        return None if self.world is None else self.world.model

    @property
    def teacher(self) -> Teacher | None:
        """What sets the policy goals."""
        return None if self.motivation is None else self.motivation.teacher

    def remember(self, episode: Episode) -> None:
        """An own training episode is over."""
        if self.buffer is not None:
            self.buffer.add(episode)
            if self.world is not None:
                self.world.remember(episode, self.buffer.is_held_out(episode.number))

    def rollout(self) -> Batch | None:
        """The newest whole rollout, once."""
        rollout = None if self.rollouts is None else self.rollouts.take()
        return None if rollout is None else rollout_batch(rollout, self.features, self.encodings)

    def _samples(self, own: ReplayBuffer, size: int) -> list[TransitionSample]:
        """Real transitions, own ones and those of the partners in proportion, a share of them relabelled where there are goals. Segments
        have at most their share, whole episodes are drawn as if all transitions were in one buffer."""
        hindsight, random = self.exchange.hindsight, self.random["buffer"]
        told = 0
        if self.imported is not None and len(self.imported):
            part = len(self.imported) / (len(self.imported) + len(own))
            if hindsight is None:
                told = int(random.binomial(size, part))
            elif hindsight.segments is not None:
                told = int(size * min(hindsight.segments.max_imported_ratio, part))
        parts = [(buffer, count) for buffer, count in ((own, size - told), (self.imported, told)) if buffer is not None and count]
        if hindsight is None:
            return [buffer.sample(count, random) for buffer, count in parts]
        return [
            buffer.sample(count, random, hindsight.share, hindsight.strategies, hindsight.weighting, hindsight.partner)
            for buffer, count in parts
        ]

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors by prefixed name, and random states for the manifest."""
        tensors = {f"learner/{name}": tensor for name, tensor in self.learner.state_dict().items()}
        if self.world is not None:
            tensors |= {f"world/{name}": tensor for name, tensor in self.world.state().items()}
        arrays = {} if self.buffer is None else {f"buffer/{name}": array for name, array in self.buffer.state().items()}
        if self.exchange.experience is not None and self.imported is not None:
            arrays |= {f"imported/{name}": array for name, array in self.imported.state().items()}
        if self.motivation is not None:
            tensors |= self.motivation.state()
        if self.game is not None:
            arrays |= {f"game/{name}": array for name, array in self.game.state().items()}
        if self.source is not None:
            arrays |= {f"goals/{name}": array for name, array in self.source.state().items()}
        tensors |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return tensors, {"random": {name: random.bit_generator.state for name, random in self.random.items()}}

    def load(self, tensors: Mapping[str, torch.Tensor], manifest: Mapping[str, Any]) -> None:
        """Restore; `ValueError` where something does not fit these settings."""

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        self.learner.load_state_dict(part("learner/"))
        if self.world is not None:
            self.world.load_state(part("world/"))
        if self.buffer is not None:
            self.buffer.load_state({name: tensor.numpy() for name, tensor in part("buffer/").items()})
        if self.exchange.experience is not None and self.imported is not None:
            self.imported.load_state({name: tensor.numpy() for name, tensor in part("imported/").items()})
        if self.motivation is not None:
            self.motivation.load(tensors)
        if self.game is not None:
            self.game.load_state({name: tensor.numpy() for name, tensor in part("game/").items()})
        if self.source is not None:
            self.source.load_state({name: tensor.numpy() for name, tensor in part("goals/").items()})
        for name, state in manifest["random"].items():
            if name in self.random:
                self.random[name].bit_generator.state = state
