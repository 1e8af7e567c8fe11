"""What acts while a dataset is recorded: random actions, fixed policies of the environment, agents of a run, functions of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import env_server.environments.registry as registry
from orchestrator.config.configuration import Configuration
from orchestrator.datasets.mixture import MixtureEntry
from orchestrator.results.playback import checkpoint_sources
from orchestrator.results.playback.checkpoint_episodes import PLAYER
from protocols.runtime.errors import UsageError
from protocols.runtime.user_code import names_file, user_function
from protocols.spaces.action_masks import draw_legal, legal_choices
from protocols.spaces.layout import Layout

Array = NDArray[Any]
RANDOM = "random"


class BehaviourPolicy(Protocol):
    """Acts for all agents in K copies."""

    def act(
        self, agent: str, layout: Layout, observation: Array, flags: Array, episode: Array, random: np.random.Generator
    ) -> tuple[Array, NDArray[np.float32]]:
        """Actions `[K, A]` and ln b(action | observation) `[K]`, NaN where it is unknown."""
        ...


class RandomPolicy:
    """Uniform among legal choices, or within the bounds of continuous actions."""

    def act(
        self, agent: str, layout: Layout, observation: Array, flags: Array, episode: Array, random: np.random.Generator
    ) -> tuple[Array, NDArray[np.float32]]:
        """Uniform actions; their log-probability is exact."""
        copies = len(observation)
        if layout.mask:
            mask = observation[:, -layout.mask_size :]
            legal = np.stack([choices.sum(axis=1) for choices in legal_choices(mask, layout.actions)], axis=1)
            return draw_legal(mask, layout.actions, random), -np.log(legal).sum(axis=1).astype(np.float32)
        if layout.actions:
            action = random.integers(0, layout.actions, (copies, len(layout.actions)), np.int32)
            return action, np.full(copies, -np.log(layout.actions).sum(), np.float32)
        low, high = np.array(layout.low), np.array(layout.high)
        drawn = random.uniform(low, high, (copies, len(low))).astype(np.float32)
        return drawn, np.full(copies, -np.log(high - low).sum(), np.float32)


class FixedPolicy:
    """A deterministic rule (a scripted policy of the environment)."""

    def __init__(self, rule: Callable[[str, Layout, Array], Array]) -> None:
        self._rule = rule

    def act(
        self, agent: str, layout: Layout, observation: Array, flags: Array, episode: Array, random: np.random.Generator
    ) -> tuple[Array, NDArray[np.float32]]:
        """Its actions: log-probability 0 for discrete ones, unknown for continuous ones, which have no density."""
        action = self._rule(agent, layout, observation)
        return action, np.full(len(observation), 0.0 if layout.actions else np.nan, np.float32)


class UserPolicy:
    """A function `policy(agent, observation[K, ...], random)` that returns actions `[K, A]` or `[K]`, or (actions, log-probabilities)."""

    def __init__(self, path: str) -> None:
        self._path, self._function = path, user_function(path)

    def act(
        self, agent: str, layout: Layout, observation: Array, flags: Array, episode: Array, random: np.random.Generator
    ) -> tuple[Array, NDArray[np.float32]]:
        """What the function returns. `UsageError` for another shape, or actions that the agent has not."""
        found = self._function(agent, observation, random)
        action, likely = found if isinstance(found, tuple) else (found, np.full(len(observation), np.nan))
        size = len(layout.actions) or len(layout.low)
        action, likely = np.asarray(action), np.asarray(likely, np.float32)
        action = action[:, None] if action.ndim == 1 and size == 1 else action
        if action.shape != (len(observation), size) or likely.shape != (len(observation),):
            text = f"actions {list(action.shape)} and log-probabilities {list(likely.shape)}"
            raise UsageError(f"--mix: {self._path} returns {text}; write [{len(observation)}, {size}] and [{len(observation)}]")
        if layout.actions and ((action < 0) | (action >= np.array(layout.actions))).any():
            raise UsageError(f"--mix: {self._path} returns an action that {agent} has not; its choices are {layout.actions}")
        return action.astype(np.int32 if layout.actions else np.float32), likely


class RunPolicy:
    """Agents of a finished run, each from its newest checkpoint, that act as in training. Where the dataset has more agents than the run,
    agent i acts by the policy of agent i mod n."""

    def __init__(self, runs_dir: Path, what: str, layouts: Mapping[str, Layout], copies: int, seed: int) -> None:
        source = checkpoint_sources.find(runs_dir, what, None)
        plain = source.configuration.model_dump(mode="json")
        module, _, kind = PLAYER.partition(":")
        make: Callable[..., Any] = getattr(import_module(module), kind)
        import_module("torch").set_num_threads(1)
        self._players = {}
        for place, agent in enumerate(layouts):
            name, team = source.trained(agent), source.team_layouts(agent, layouts)
            self._players[agent] = make(name, plain, team, source.checkpoint(name), False, seed + place, 0, copies)

    def act(
        self, agent: str, layout: Layout, observation: Array, flags: Array, episode: Array, random: np.random.Generator
    ) -> tuple[Array, NDArray[np.float32]]:
        """Actions as in training; the log-probability where the learner has the capability "probabilities" or keeps it."""
        player = self._players[agent]
        action = player.act(observation, np.zeros(len(observation), np.float32), flags, episode)
        return action, player.log_probability


class EpsilonPolicy:
    """Another policy whose action is replaced by a uniformly random one with probability epsilon. With p its probability of the action that
    was taken and u that of the uniform policy, ln((1 - epsilon) p + epsilon u)."""

    def __init__(self, base: BehaviourPolicy, epsilon: float) -> None:
        self._base, self._epsilon, self._uniform = base, epsilon, RandomPolicy()

    def act(
        self, agent: str, layout: Layout, observation: Array, flags: Array, episode: Array, random: np.random.Generator
    ) -> tuple[Array, NDArray[np.float32]]:
        """The log-probability is known for discrete actions of a deterministic base, and unknown otherwise."""
        chosen, likely = self._base.act(agent, layout, observation, flags, episode, random)
        drawn, uniform = self._uniform.act(agent, layout, observation, flags, episode, random)
        replaced = random.random(len(observation)) < self._epsilon
        action = np.where(replaced[:, None], drawn, chosen).astype(chosen.dtype)
        same = (action == chosen).all(axis=1)
        known = (likely == 0) if layout.actions else np.zeros(len(likely), bool)
        mixed = np.log((1 - self._epsilon) * same + self._epsilon * np.exp(uniform))
        return action, np.where(known, mixed, np.nan).astype(np.float32)


def behaviour_policy(
    entry: MixtureEntry, configuration: Configuration, layouts: Mapping[str, Layout], copies: int, runs_dir: Path, seed: int
) -> BehaviourPolicy:
    """What `entry.policy` names: `random`, a fixed policy of the environment, `./file.py:function` or `package.module:function`, or else a
    run. `UsageError` where it does not exist."""
    base = _base(entry.policy, configuration, layouts, copies, runs_dir, seed)
    return EpsilonPolicy(base, entry.epsilon) if entry.epsilon else base


def _base(
    policy: str, configuration: Configuration, layouts: Mapping[str, Layout], copies: int, runs_dir: Path, seed: int
) -> BehaviourPolicy:
    if policy == RANDOM:
        return RandomPolicy()
    fixed = registry.scripted_policies(configuration.environment, tuple(layouts))
    if policy in fixed:
        return FixedPolicy(fixed[policy])
    if names_file(policy) or ":" in policy:
        return UserPolicy(policy)
    try:
        return RunPolicy(runs_dir, policy, layouts, copies, seed)
    except UsageError as error:
        names = _known([RANDOM, *fixed])
        raise UsageError(f"--mix: {policy} is no policy of {configuration.environment.id} ({names}), and no run: {error}") from None


def _known(names: Sequence[str]) -> str:
    return f"it has {', '.join(names)}"
