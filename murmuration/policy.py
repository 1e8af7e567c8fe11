"""The policy of one agent: observations in, actions out."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from env_server.environments import registry
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import BadMessage
from protocols.topology import edges

if TYPE_CHECKING:
    from orchestrator.results.playback.checkpoint_sources import CheckpointSource

_EPISODE = 2**40
"""number of the first episode: beyond those of any run"""


class Policy:
    """What an agent has learnt, without its process: `act` computes actions, nothing is learnt. `Run.policy` makes it.

    With `copies` = K > 1 it acts in K environment copies at once, and every array has a leading axis of length K. Learners with a memory
    (recurrent networks, stacks of past observations) keep it from one `act` to the next, so call `reset` where an episode begins.
    """

    def __init__(self, source: CheckpointSource, agent: str, copies: int = 1, seed: int | None = None) -> None:
        from orchestrator.results.playback.checkpoint_episodes import PLAYER

        configuration = source.configuration
        settings = configuration.environment.model_copy(update={"copies": 1, "supervisor": None})
        single = registry.is_single_player(settings)
        names = [agent] if single else configuration.agent_names()
        pairs = edges(configuration.network.topology, configuration.agent_names(), configuration.seed)
        drawn = configuration.seed if seed is None else seed
        self.agent = agent
        """name of the agent"""
        self.checkpoint: Path = source.checkpoint(agent)
        """manifest of the checkpoint"""
        environment = registry.create(settings, names, None if single else pairs, drawn)
        try:
            layouts = {name: environment.layout(name) for name in names}
            self._example = environment.reset(drawn, _EPISODE).agents[agent]
            members = int(getattr(environment, "episode_members", 0))
        finally:
            environment.close()
        self._layout = layouts[agent]
        module, _, attribute = PLAYER.partition(":")
        make = getattr(import_module(module), attribute)
        plain = configuration.model_dump(mode="json")
        self._player: Any = make(agent, plain, layouts, self.checkpoint, True, drawn, members, copies)
        self._copies = copies
        self._episode = np.arange(_EPISODE, _EPISODE + copies, dtype=np.int64)
        self._first = np.ones(copies, bool)

    def __repr__(self) -> str:
        return f"<Policy of {self.agent}: observation {self.observation_shape} {self.observation_dtype}, checkpoint {self.checkpoint.stem}>"

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one raw observation, without the batch dimension."""
        return tuple(self._layout.shape)

    @property
    def observation_dtype(self) -> np.dtype[Any]:
        """Type of observations: float32, or uint8 for images and grids."""
        return np.dtype(self._example.observation.dtype)

    @property
    def num_actions(self) -> tuple[int, ...]:
        """Number of choices of each discrete action component; empty for continuous actions."""
        return tuple(self._layout.actions)

    @property
    def action_bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest values `[A]` of continuous actions; empty for discrete ones."""
        return np.asarray(self._layout.low, float), np.asarray(self._layout.high, float)

    @property
    def training(self) -> dict[str, int]:
        """What the agent had done when the checkpoint was written: `updates`, `episodes`, `steps` and the number `step` of the
        checkpoint, as far as recorded."""
        return dict(self._player.facts)

    def reset(self, copies: ArrayLike | None = None) -> None:
        """An episode begins at the next `act`: in all copies, or where the boolean mask `copies` `[K]` is true."""
        begins = np.ones(self._copies, bool) if copies is None else np.asarray(copies, bool)
        if begins.shape != (self._copies,):
            raise ValueError(f"copies has the shape {begins.shape}, but this policy acts in {self._copies} copies")
        self._first |= begins
        self._episode[begins] += self._copies

    def act(self, observation: ArrayLike, *, goal: ArrayLike | None = None, deterministic: bool = True) -> Any:
        """Actions for the newest observations.

        Args:
            observation: `observation_shape`, or `[K, *observation_shape]` with K = `copies`, as the environment server sends it.
            goal: Goal to pursue in an environment with goals: one for all copies, or `[K, ...]`. Without it the policy acts without a goal.
            deterministic: Take the most likely action where the learner has one; else draw as in training, exploration included.

        Returns:
            The action of one environment without the leading axis, for K copies with it. A single discrete action is an integer, several
            are int32 `[A]`; continuous actions are float32 `[A]`, within `action_bounds`.

        Raises:
            ValueError: The observation or goal has another shape, or the environment has no goals.
        """
        seen = np.asarray(observation, self.observation_dtype)
        single = self._copies == 1 and seen.shape == self.observation_shape
        seen = seen[None] if single else seen
        if seen.shape != (self._copies, *self.observation_shape):
            raise ValueError(f"the observation has the shape {seen.shape}, but {self.agent} observes {self._expected()}")
        flags = np.full(self._copies, Flag.MEMBER, np.uint16) | np.where(self._first, np.uint16(Flag.FIRST), np.uint16(0)).astype(np.uint16)
        reward = np.zeros(self._copies, np.float32)
        self._player.greedy = deterministic
        try:
            actions = self._player.act(seen, reward, flags, self._episode, *self._goals(goal))
        except BadMessage as error:
            raise ValueError(error.detail) from None
        self._first[:] = False
        if len(self._layout.actions) == 1:
            actions = actions[:, 0]
        if not single:
            return actions.copy()
        return int(actions[0]) if actions.ndim == 1 else actions[0].copy()

    def _goals(self, goal: ArrayLike | None) -> tuple[Any, Any]:
        """Frames `achieved` and `goal` as the environment server sends them; (None, None) in environments without goals."""
        achieved, none = self._example.achieved, self._example.goal
        if achieved is None or none is None:
            if goal is not None:
                raise ValueError(f"the environment of {self.agent} has no goals")
            return None, None
        held = np.repeat(none[:1], self._copies, axis=0)
        if goal is not None:
            given = np.asarray(goal, none.dtype)
            if given.shape not in (none.shape[1:], held.shape):
                raise ValueError(f"the goal has the shape {given.shape}, but one goal here has the shape {none.shape[1:]}")
            held[:] = given
        return np.zeros((self._copies, *achieved.shape[1:]), achieved.dtype), held

    def _expected(self) -> str:
        one = f"{self.observation_shape}"
        return one if self._copies == 1 else f"({self._copies}, {', '.join(map(str, self.observation_shape))})"
