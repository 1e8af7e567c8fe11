"""An agent's world model with its imagined transitions and optimism."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import (
    AdditiveStatistics,
    AdditiveWorldModel,
    Array,
    Component,
    Learner,
    ModelData,
    State,
    WorldModel,
    with_prefix,
)
from agent_node.memory.episode import Episode, TransitionSample
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.transition_batches import goal_encodings
from agent_node.world_models.imagination.imagination import ImaginedReplay, PooledImagination
from agent_node.world_models.imagination.optimism import Optimism
from agent_node.world_models.imagination.reward_models import KnownReward, RewardGrid, RewardModel
from agent_node.world_models.settings import ImaginationSettings, WorldModelSettings
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.goal_space import DiscreteSpace
from protocols.spaces.layout import Layout
from protocols.spaces.reward_map import RewardMap

Floats = NDArray[np.float32]
Vector = NDArray[np.float64]


class CombinedStatistics:
    """The statistics of `parts` one behind the other; `AdditiveStatistics` as each of them."""

    def __init__(self, parts: Sequence[AdditiveStatistics]) -> None:
        self._parts = tuple(parts)
        self._ends = np.cumsum([part.statistics().size for part in parts])[:-1]

    @property
    def basis_id(self) -> str:
        """The part's own, or a hash of all."""
        ids = [part.basis_id for part in self._parts]
        return ids[0] if len(ids) == 1 else blake2b("\0".join(ids).encode(), digest_size=32).hexdigest()

    @property
    def transitions(self) -> int:
        """Own ones absorbed so far."""
        return max(part.transitions for part in self._parts)

    def statistics(self) -> Vector:
        """All sums over the own transitions, `[P]`."""
        return np.concatenate([part.statistics() for part in self._parts])

    def check(self, vector: Vector) -> None:
        """`ValueError` with the reason why this can't be one agent's sums."""
        for part, numbers in zip(self._parts, self._cut(vector), strict=True):
            part.check(numbers)

    def published(self) -> None:
        """The own sums as they are now were sent (`AdditiveStatistics.published`)."""
        for part in self._parts:
            part.published()

    def use(self, total: Vector, complete: bool) -> None:
        """Rest on the sum over all agents (`AdditiveStatistics.use`)."""
        for part, numbers in zip(self._parts, self._cut(total), strict=True):
            part.use(numbers, complete)

    def _cut(self, vector: Vector) -> list[Vector]:
        return np.split(vector, self._ends)


class WorldModelComponent(Component):
    """One agent's world model, with imagination. Without `optimism` imagination uses the mean, and the reward alone."""

    def __init__(
        self,
        settings: WorldModelSettings,
        model: WorldModel,
        learner: Learner,
        buffer: ReplayBuffer,
        layout: Layout,
        space: DiscreteSpace | None,
        optimism: Optimism | None,
        seed: int,
    ) -> None:
        self.settings = settings
        self.model = model
        self.optimism = optimism
        self.steps = 0
        """own steps so far, by which optimism falls and horizons grow"""
        self.refreshes = 0
        """number of refreshes of imagined transitions in this incarnation"""
        self._refreshed = 0
        self._began: Array | None = None
        """`[1, H, D]`, where the newest episode began"""
        self._features = buffer.features
        self.additive = cast(AdditiveWorldModel, model) if "additive_statistics" in settings.capabilities else None
        """the model, where its statistics are additive"""
        self._buffer = buffer
        uses_replay = "replay" in learner.capabilities
        imagination = settings.imagination if uses_replay else None
        reward = None if imagination is None else _reward_model(imagination, layout)
        self.grid = reward if isinstance(reward, RewardGrid) else None
        parts: list[AdditiveStatistics] = [] if self.additive is None else [self.additive]
        if self.grid is not None:
            parts.append(self.grid)
        self.shared = CombinedStatistics(parts) if parts else None
        """statistics that may be added to those of other agents"""
        self._imagination: PooledImagination | None = None
        self._kept: ImaginedReplay | None = None
        if imagination is not None:
            if imagination.uniform_start_ratio > 0 and not buffer.features.enclosed:
                raise ConfigurationError("agents.world_model.imagination.uniform_start_ratio: the observations have no bounds; write 0")
            self._kept = ImaginedReplay(imagination, model, learner, buffer, reward, optimism, seed)
        elif uses_replay:
            self._imagination = PooledImagination(model, learner, buffer, goal_encodings(space), settings.horizon, seed)

    # --- real transitions -------------------------------------------------------------------------------------------------------------

    def episode_ended(self, episode: Episode) -> None:
        """Absorb a training episode."""
        if not episode.evaluation:
            self.absorb(episode, self._buffer.is_held_out(episode.number))

    def absorb(self, episode: Episode, held_out: bool) -> None:
        """An own training episode ended: additive models and grids absorb each of its transitions once, unless it is held out."""
        self.steps += episode.steps
        stacked = episode.histories(self._features.history)
        self._began = stacked[:1].copy()
        if held_out:
            return
        following = episode.observation[1:]
        if self.grid is not None:
            self.grid.absorb(following, episode.action, episode.reward)
        if self.additive is not None:
            terminated = np.zeros(episode.steps, np.float32)
            terminated[-1] = episode.terminated
            self.additive.absorb(ModelData(stacked[:-1], episode.action, following, episode.reward, terminated))

    @property
    def due(self) -> bool:
        """Whether imagined transitions are kept, and old by now."""
        every = 0 if self.settings.imagination is None else self.settings.imagination.every
        return self._kept is not None and self.model.ready and self.steps - self._refreshed >= every

    @property
    def needs_imagination(self) -> bool:
        """Whether imagined transitions are to be kept and the model is ready, but none exist: after a restart."""
        return self._kept is not None and not len(self._kept) and self.model.ready

    def refresh(self) -> None:
        """The model has learnt: imagine with it, where imagined transitions are kept."""
        self._refreshed = self.steps
        if self._kept is not None and self.model.ready:
            self._kept.refresh(self.steps)
            self.refreshes += 1

    def plan(self, steps: int) -> tuple[Array, Array] | None:
        """The policy's next trajectory in the model (`ImaginedReplay.plan`); None before the first episode or before the model is ready."""
        if self._kept is None or self._began is None or not self.model.ready:
            return None
        return self._kept.plan(self._began, steps)

    def add_optimistic_prediction(self, sample: TransitionSample) -> None:
        """Store the extras of optimism with real transitions: `bonus`, `hallucination`, `trusted`, and where the next observations of
        imagined transitions are not the mean of the model `mean_next_observation` and `mean_reward`, here what happened."""
        if self.optimism is None or self._kept is None:
            return
        prediction = self.model.predict(sample.observation, sample.action)
        eta = self.optimism.infer_eta(prediction, sample.next_observation[:, -1])
        reward_std = self._kept.reward_std(sample.next_observation[:, -1], sample.action)
        trusted = np.ones(len(eta), np.float32)
        sample.extras = self._extras(prediction.epistemic, reward_std, eta, trusted, sample.next_observation, sample.reward)

    def _extras(
        self, epistemic: NDArray[np.floating], reward_std: Floats, eta: Floats, trusted: Floats, mean_following: Array, mean_reward: Floats
    ) -> dict[str, Floats]:
        if self.optimism is None:
            return {}
        extras = {"bonus": self.optimism.bonus(epistemic, reward_std, self.steps), "hallucination": eta, "trusted": trusted}
        if not self.optimism.follows_mean:
            extras |= {"mean_next_observation": self._features.encode(mean_following), "mean_reward": mean_reward}
        return extras

    # --- imagined ones ----------------------------------------------------------------------------------------------------------------

    @property
    def imagines(self) -> bool:
        """Whether there are imagined transitions to learn from."""
        if self._kept is not None:
            return len(self._kept) > 0
        return self._imagination is not None and self.model.ready

    def imagined(self, n: int) -> TransitionSample:
        """n imagined transitions for a replay batch. `ValueError` for an agent that imagines nothing."""
        if self._kept is None:
            if self._imagination is None:
                raise ValueError("this agent imagines nothing")
            return self._imagination.sample(n)
        found = self._kept.sample(n)
        return TransitionSample(
            found.state, found.action, found.reward, found.following, np.zeros(n, np.float32), np.full(n, -1, np.int64), np.ones(n, bool),
            extras=self._extras(
                found.epistemic, found.reward_std, found.eta, found.trusted, found.mean_following, found.mean_reward
            ),
        )  # fmt: skip

    # --- parameters and checkpoints ---------------------------------------------------------------------------------------------------

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """Those of the model."""
        return self.model.parameter_groups()

    def averaged(self) -> None:
        """Calls `averaged` of the model, whose parameters were changed."""
        self.model.averaged()

    def state_dict(self) -> State:
        """The model's tensors, the grid's, and the own steps. Imagined transitions are computed again."""
        state = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.grid is not None:
            state |= self.grid.state()
        return state | {"steps": torch.tensor([self.steps])}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        self.model.load_state_dict(with_prefix("model/", state))
        if self.grid is not None:
            self.grid.load_state(state)
        if "steps" not in state:
            raise ValueError("the own steps are missing in the state")
        self.steps = int(state["steps"][0])


def _reward_model(settings: ImaginationSettings, layout: Layout) -> RewardModel | None:
    """The grid of learned rewards, or the environment's map; None where the world model predicts rewards. `ConfigurationError` where the
    environment lacks what they need."""
    plane, place = layout.reward_map, "agents.world_model.imagination.reward"
    if settings.reward == "model":
        return None
    if settings.reward == "known":
        if plane is None:
            raise ConfigurationError(f"{place}: this environment has no map of rewards; write learned or model")
        return KnownReward(RewardMap.from_info(plane))
    if plane is None:
        raise ConfigurationError(f"{place}: a grid needs the bounds of a plane, and this environment has none; write model")
    return RewardGrid(plane.low, plane.high, settings.reward_cell_size, plane.action_cost)
