"""What happens between two decisions: sticky actions, skipped frames, and the maximum over the newest frames."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
from pettingzoo.utils import BaseParallelWrapper

from env_server.adapters.image_observations import is_image
from env_server.settings import ImageSettings

_STREAM = crc32(b"sticky_actions")


class FrameSkip(BaseParallelWrapper[Any, Any, Any]):  # type: ignore[misc]
    """An environment, `env`, with the Parallel API, of which one step is `frame_skip` steps with the same actions.

    Each step of `env`, a frame, is in this order

        sticky actions   every agent on its own repeats the action of its frame before with probability `sticky_actions`, whatever it
                         has chosen; the first one in an episode is its own (Machado et al. 2018, arXiv 1709.06009)
        maximum          an image is the greatest value of each pixel over the newest `frame_max` images of the episode

    Rewards are summed over the frames. Observations, infos, terminations and truncations are those of the last frame that has them. A
    step has fewer frames where the episode ends or an agent enters. The draws of sticky actions derive from the seed of `reset`.
    """

    def __init__(self, environment: Any, settings: ImageSettings) -> None:
        super().__init__(environment)
        self._settings = settings
        self._places = {agent: place for place, agent in enumerate(environment.possible_agents)}
        self._images = {agent for agent in self._places if is_image(environment.observation_space(agent))}
        self.earlier: dict[Any, list[Any]] = {}
        """observations of the frames of the last step before its last one, by agent; only with `frame_order: stack_skip`"""
        self._newest: dict[Any, list[Any]] = {}
        self._before: dict[Any, Any] = {}
        self._random = np.random.default_rng()

    @staticmethod
    def needed(settings: ImageSettings) -> bool:
        """Whether these settings change anything between two decisions."""
        return settings.frame_skip > 1 or settings.frame_max > 1 or settings.sticky_actions > 0

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """First observations and infos."""
        self._random = np.random.default_rng(None if seed is None else np.random.SeedSequence(seed, spawn_key=(_STREAM,)))
        self.earlier, self._newest, self._before = {}, {}, {}
        observations, infos = self.env.reset(seed=seed, options=options)
        return self._greatest(observations), infos

    def step(self, actions: dict[Any, Any]) -> tuple[dict[Any, Any], dict[Any, float], dict[Any, bool], dict[Any, bool], dict[Any, Any]]:
        """Up to `frame_skip` frames."""
        self.earlier = {}
        seen: dict[Any, Any] = {}
        rewards: dict[Any, float] = {}
        terminations: dict[Any, bool] = {}
        truncations: dict[Any, bool] = {}
        infos: dict[Any, Any] = {}
        for _ in range(self._settings.frame_skip):
            acting = self._sticky({agent: action for agent, action in actions.items() if agent in self.env.agents})
            observed, paid, ended, cut, described = self.env.step(acting)
            if self._settings.frame_order == "stack_skip":
                for agent in observed.keys() & seen.keys():
                    self.earlier.setdefault(agent, []).append(seen[agent])
            seen |= self._greatest(observed)
            for agent, reward in paid.items():
                rewards[agent] = rewards.get(agent, 0.0) + float(reward)
            terminations |= ended
            truncations |= cut
            infos |= described
            if not self.env.agents or not actions.keys() >= set(self.env.agents):
                break
        return seen, rewards, terminations, truncations, infos

    def _sticky(self, actions: dict[Any, Any]) -> dict[Any, Any]:
        """The actions of this frame."""
        if self._settings.sticky_actions > 0:
            repeats = self._random.random(len(self._places)) < self._settings.sticky_actions
            before = self._before
            actions = {
                agent: before[agent] if repeats[self._places[agent]] and agent in before else action for agent, action in actions.items()
            }
            self._before = {**before, **actions}
        return actions

    def _greatest(self, observations: dict[Any, Any]) -> dict[Any, Any]:
        """The observations of a frame, images as the maximum over the newest ones."""
        if self._settings.frame_max == 1:
            return observations
        found = dict(observations)
        for agent in observations.keys() & self._images:
            newest = [*self._newest.get(agent, ()), np.array(observations[agent])][-self._settings.frame_max :]
            self._newest[agent] = newest
            found[agent] = np.maximum.reduce(newest)
        return found
