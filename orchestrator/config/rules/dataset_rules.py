"""Rules of runs that learn from a dataset, all of which is read and compared with the configuration before anything starts, and of runs
that begin with what another one has learnt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from orchestrator.config.checks.cross_checks import Finding, RuleContext, components_of, reads
from orchestrator.config.parsing.yaml_tree import Path
from orchestrator.config.resolved_configuration import recorded

if TYPE_CHECKING:
    from protocols.datasets.dataset_reader import Dataset

_WHERE: Path = ("dataset", "path")


@reads("dataset", "environment", "agents", "agents.count", "network.topology")
def _dataset(subject: RuleContext) -> Iterator[Finding]:
    """The files are whole and true, and were recorded in this environment by these agents."""
    configuration = subject.configuration
    if configuration.dataset is None or not subject.playable:
        return
    from env_server.environments.registry import describe
    from orchestrator.datasets.dataset_environment import dataset_environment
    from protocols.datasets.dataset_reader import Dataset
    from protocols.datasets.manifest import DatasetError

    if subject.facts.has_goals:
        text = f"{configuration.environment.id} has goals, and datasets hold none; write environment.goals: null, or another environment.id"
        yield Finding(("environment",), text)
        return
    described = describe(configuration.environment, configuration.agent_names(), subject.edges)
    if not described.holdable:
        text = f"the copies of {configuration.environment.id} cannot be held between evaluations; choose another environment.id"
        yield Finding(("environment", "id"), text)
    try:
        dataset = Dataset(FilePath(configuration.dataset.path))
        differences = dataset.manifest.differences(dataset_environment(configuration.environment), described.layouts)
        yield from (Finding(_WHERE, text) for text in differences)
        if not differences:
            dataset.verify()
            if any("joint" in settings.learner.capabilities for _, _, settings in subject.agents):
                yield from _joint_episodes(dataset, configuration.agent_names())
    except DatasetError as error:
        yield Finding(_WHERE, str(error))


def _joint_episodes(dataset: Dataset, names: list[str]) -> Iterator[Finding]:
    """All agents have a part of each episode, of the same moments."""
    import numpy as np  # here: a configuration without a dataset is read without it

    from protocols.conversations.segment_exchange import SegmentLimits

    cure = "record the data again with all agents in each episode, or choose a learner without the capability joint"
    for number, parts in ((next(iter(parts.values())).number, parts) for parts in dataset.joined()):
        if missing := [name for name in names if name not in parts]:
            text = f"episode {number} has no part of {', '.join(missing)}, and joint steps are those of all agents"
            yield Finding(_WHERE, f"{text}; {cure}")
            return
        if (steps := max(part.steps for part in parts.values())) > SegmentLimits.longest:
            text = f"episode {number} has {steps} steps, and agents exchange episodes of at most {SegmentLimits.longest}"
            yield Finding(_WHERE, f"{text}; choose a learner without the capability joint")
            return
        if any((part.moment != np.arange(part.steps)).any() for part in parts.values()):
            text = f"agents take turns in episode {number}, and joint steps are what all agents do at the same moments"
            yield Finding(_WHERE, f"{text}; choose a learner without the capability joint")
            return


@reads("dataset", "agents", "exchange.experience", "until")
def _learning(subject: RuleContext) -> Iterator[Finding]:
    """What learns can learn from stored transitions, and what ends training is counted."""
    configuration = subject.configuration
    if configuration.dataset is None:
        return
    for _, top, settings in subject.agents:
        learner = settings.learner
        if "replay" not in learner.capabilities:
            text = f"{learner.kind} cannot learn from stored transitions"
            cure = "choose one that learns from replay, such as double_dqn or td3"
            yield Finding((*top, "learner"), f"{text}; {cure}")
        for key, part in components_of(settings).items():
            if "additive_statistics" in part.capabilities:
                text = f"{part.kind} learns from the agent's own episodes, and a dataset has none; write null, or another kind"
                yield Finding((*top, key), text)
    if configuration.exchange.experience is not None:
        text = "agents share the transitions of their own episodes, and with a dataset they play none; write experience: null"
        yield Finding(("exchange", "experience"), text)
    if configuration.until.steps is None and configuration.until.time is None:
        text = "with a dataset no training episodes are played; write until: {steps: N}, which counts the updates of each agent"
        yield Finding(("until",), text)


@reads("record_episodes", "dataset", "environment", "agents.count", "network.topology")
def _recording(subject: RuleContext) -> Iterator[Finding]:
    """There are training episodes, and datasets can hold them."""
    configuration = subject.configuration
    if not configuration.record_episodes:
        return
    if configuration.dataset is not None:
        text = "agents that learn from a dataset play no training episodes; write record_episodes: false"
        yield Finding(("record_episodes",), text)
    elif subject.playable and subject.facts.has_goals:
        text = f"{configuration.environment.id} has goals, and datasets hold none; write environment.goals: null, or record_episodes: false"
        yield Finding(("record_episodes",), text)


@reads("init_from", "agents")
def _initial(subject: RuleContext) -> Iterator[Finding]:
    """The run exists, has checkpoints, and its learners have parameters of the same shapes."""
    if (given := subject.configuration.init_from) is None:
        return
    where: Path = ("init_from",)
    try:
        earlier = recorded((FilePath(given) / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its config.json is of another version"
        yield Finding(where, f"{given} is no directory of a run ({reason}); name one, for example runs/{subject.configuration.name}-1")
        return
    empty = [name for name in earlier.agent_names() if not any((FilePath(given) / "nodes" / name / "checkpoints").glob("*.json"))]
    if empty:
        yield Finding(where, f"{', '.join(empty[:5])} of {given} has no checkpoint; name a run that has ended in order")
    before, settings = earlier.agents.learner, subject.configuration.agents.learner
    if before.kind != settings.kind:
        yield Finding(where, f"the run has learners {before.kind}, and agents.learner.kind is {settings.kind}; write the same kind")
        return
    for key in settings.architecture:
        if getattr(before, key) != getattr(settings, key):
            text = f"agents.learner.{key} of the run is {getattr(before, key)}, and here it is {getattr(settings, key)}; write the same"
            yield Finding(where, text)
