"""Shared by all rules: the keys that a rule reads, the agents that it checks, and the names in its findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from agent_node.settings.agent import AgentSettings
from orchestrator.config.checks.cross_checks import Finding, Rule, RuleContext, agent_checked
from orchestrator.config.checks.environment_facts import ObservationFacts
from orchestrator.config.parsing.yaml_tree import Path
from protocols.runtime.component_registry import component, kinds
from protocols.runtime.settings_types import ComponentSettings
from protocols.runtime.suggestions import nearest
from protocols.topology.unfit_topology import UnfitTopology

_Check = Callable[[RuleContext], Iterator[Finding]]


class Rules(list[Rule]):
    """The rules of one file, in its order."""

    def reads(self, *paths: str) -> Callable[[_Check], _Check]:
        """Decorator that adds a rule; `paths` are the keys it reads."""

        def add(check: _Check) -> _Check:
            self.append(Rule(paths, check))
            return check

        return add


def agents_of(subject: RuleContext) -> dict[str, AgentSettings]:
    """Settings of the agents whose overrides are valid: one common and those that differ."""
    configuration = subject.configuration
    names = configuration.agent_names()
    differing = [name for name in configuration.agents.overrides if name in names]
    common = next((name for name in names if name not in differing), None)
    found = {name: agent_checked(configuration, name) for name in ([common] if common is not None else []) + differing}
    return {name: checked.model for name, checked in found.items() if checked.model is not None and not checked.problems}


def placed(subject: RuleContext) -> Iterator[tuple[str, Path, AgentSettings]]:
    """Name and settings of `agents_of`, and the path at which to change them: `agents.overrides.NAME`, or `agents` for the common ones."""
    overrides = subject.configuration.agents.overrides
    for name, settings in agents_of(subject).items():
        yield name, ("agents", "overrides", name) if name in overrides else ("agents",), settings


def components_of(settings: AgentSettings) -> dict[str, ComponentSettings]:
    """The components of an agent by their keys, without those that are null."""
    return {key: part for key in type(settings).model_fields if isinstance(part := getattr(settings, key), ComponentSettings)}


def kinds_with(room: str, *capabilities: str) -> str:
    """The kinds of a room that declare all of these capabilities, for messages: `ppo or impala`; `another one` if no kind does."""
    able = [kind for kind in kinds(room) if set(capabilities) <= set(getattr(component(room, kind).settings, "capabilities", ()))]
    return " or ".join(filter(None, (", ".join(able[:-1]), *able[-1:]))) or "another one"


def playable(subject: RuleContext) -> bool:
    """Whether the environment can be made, so that `subject.facts` has its goals and observations."""
    return not isinstance(subject.graph, UnfitTopology) and not subject.environment


def seeing(subject: RuleContext) -> Iterator[tuple[Path, AgentSettings, ObservationFacts]]:
    """As `placed`, with what each agent observes; nothing where the environment is not `playable`."""
    if playable(subject):
        for name, top, settings in placed(subject):
            yield top, settings, subject.facts.sights[name]


def meant(name: str, names: Sequence[str]) -> str | None:
    """The nearest name, except for well-spelt names of agents that do not exist: agent-7 is no misspelling of agent-3."""
    return None if re.fullmatch(r"agent-\d+", name) else nearest(name, names)


def span(agents: Sequence[str]) -> str:
    """Many names by the first and the last of them."""
    return f"{agents[0]} ... {agents[-1]}" if len(agents) > 2 else ", ".join(agents)


def some(names: Sequence[str]) -> str:
    """Many names by the first five of them."""
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"
