"""Episodes of policies are played in a vectorised environment, and written as a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import env_server.environments.registry as registry
from orchestrator.config.configuration import Configuration
from orchestrator.datasets.behaviour_policies import BehaviourPolicy, behaviour_policy
from orchestrator.datasets.dataset_environment import dataset_environment
from orchestrator.datasets.mixture import MixtureEntry
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.datasets.dataset_writer import DatasetWriter
from protocols.datasets.manifest import Manifest
from protocols.datasets.shard_episodes import ShardEpisode
from protocols.runtime.errors import ResourceError, UsageError
from protocols.runtime.seeds import Stream, integer, named_generator
from protocols.spaces.layout import Layout
from protocols.topology import edges

_NODE = "dataset"
_BLOCK = 2**32
"""numbers of episodes for each entry of the mixture: episodes are seeded by their number"""
_PATIENCE = 1000
_RECORDER, _FEATURES = "agent_node.session.acting:EpisodeRecorder", "agent_node.session.observation_features:Features"
"""the agents' side, loaded when it is needed: it brings torch"""

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]
"""called with the name of a behaviour, and how many of its episodes or steps there are"""


def record_dataset(
    output: Path,
    configuration: Configuration,
    mixture: list[MixtureEntry],
    quotas: list[int],
    by_steps: bool,
    seed: int,
    runs_dir: Path,
    progress: Progress = lambda name, done, wanted: None,
) -> Manifest:
    """Record `quotas` episodes, or with `by_steps` as many whole episodes as have so many transitions of all agents, of each policy of
    `mixture`, in the environment of `configuration`. The same arguments give the same bytes."""
    settings = configuration.environment.model_copy(update={"supervisor": None})
    names = configuration.agent_names()
    pairs = edges(configuration.network.topology, names, configuration.seed)
    environment = registry.create(settings, names, pairs, seed)
    with closing(environment):
        layouts = {agent: environment.layout(agent) for agent in names}
        if any(layout.goals is not None for layout in layouts.values()):
            text = f"{settings.id} has goals, and datasets hold none"
            raise UsageError(f"environment.id: {text}; record an environment without goals, or write environment.goals: null")
        with DatasetWriter(output, dataset_environment(settings), layouts, seed) as writer:
            for place, (entry, quota) in enumerate(zip(mixture, quotas, strict=True)):
                policy = behaviour_policy(
                    entry, configuration, layouts, settings.copies, runs_dir, integer(seed, _NODE, Stream.EXPLORATION)
                )
                writer.begin_behaviour(entry.name, entry.text)
                random = named_generator(seed, _NODE, entry.name)
                done = 0
                progress(entry.name, 0, quota)
                for parts in _episodes(environment, policy, layouts, place, integer(seed, _NODE, Stream.ENVIRONMENT), random):
                    writer.add(parts)
                    done += sum(part.steps for part in parts.values()) if by_steps else 1
                    progress(entry.name, done, quota)
                    if done >= quota:
                        break
            return writer.close()


def _episodes(
    environment: Any, policy: BehaviourPolicy, layouts: Mapping[str, Layout], behaviour: int, seed: int, random: np.random.Generator
) -> Iterator[dict[str, ShardEpisode]]:
    """Episodes without end, in the order of their numbers, so that long ones are not rarer than short ones."""
    first = behaviour * _BLOCK
    recorders = {agent: _recorder(layout, environment.copies) for agent, layout in layouts.items()}
    outcome = environment.reset(seed, first)
    environment.finished()
    applied = {agent: np.repeat(layout.null_action[None], environment.copies, axis=0) for agent, layout in layouts.items()}
    extras: dict[str, dict[str, Array]] = {agent: {} for agent in layouts}
    waiting, idle = first, 0
    parts: dict[int, dict[str, ShardEpisode]] = {}
    complete: dict[int, dict[str, ShardEpisode]] = {}
    while True:
        for agent, layout in layouts.items():
            batch = outcome.agents[agent]
            raw = batch.observation.reshape(environment.copies, -1)
            for episode in recorders[agent].tick(raw, batch.reward, batch.flags, outcome.episode, applied[agent], extras=extras[agent]):
                parts.setdefault(episode.number, {})[agent] = _part(episode, behaviour, layout)
        for record in environment.finished():
            complete[record.episode] = parts.pop(record.episode, {})
        while waiting in complete:
            if found := complete.pop(waiting):
                yield found
            waiting += 1
        idle = 0 if (outcome.episode >= 0).any() else idle + 1
        if idle > _PATIENCE:
            raise ResourceError("no episode begins: the agents that are needed for one are not connected with one another")
        for agent, layout in layouts.items():
            batch = outcome.agents[agent]
            action, likely = policy.act(agent, layout, batch.observation, batch.flags, outcome.episode, random)
            applied[agent] = action
            acts = (batch.flags & Flag.WAITING) == 0
            held = extras[agent].get("log_probability", likely)
            extras[agent] = {"log_probability": np.where(acts, likely, held).astype(np.float32)}
        outcome = environment.step(applied)


def _recorder(layout: Layout, copies: int) -> Any:
    found = []
    for path in (_RECORDER, _FEATURES):
        module, _, name = path.partition(":")
        found.append(getattr(import_module(module), name))
    recorder, features = found
    return recorder(copies, features(layout, 1))


def _part(episode: Any, behaviour: int, layout: Layout) -> ShardEpisode:
    return ShardEpisode(
        number=episode.number,
        behaviour=behaviour,
        observation=episode.observation.reshape(-1, *layout.shape),
        action=episode.action,
        reward=episode.reward,
        terminated=episode.terminated,
        moment=episode.moment,
        log_probability=episode.extras["log_probability"],
    )
