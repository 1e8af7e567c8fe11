"""Cross checks: how rules between keys, and between the configuration and this machine, are registered and run. They are in `rules`.

Each names the keys it reads. It runs when none of them is broken, so a mistake in one corner does not hide those in others, and
is not reported twice either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agent_node.settings.agent import AgentSettings
from orchestrator.config.checks.environment_facts import EnvironmentFacts, ObservationFacts, environment_facts, environment_problems
from orchestrator.config.checks.field_checks import Validated, validate
from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.problems import Problem, Severity
from orchestrator.config.parsing.yaml_tree import Location, Node, Path, format_path, overlap, place, planted
from protocols.runtime.component_registry import component, kinds
from protocols.runtime.settings_types import ComponentSettings, merge_overrides
from protocols.runtime.suggestions import nearest
from protocols.topology.settings import UnfitTopology

if TYPE_CHECKING:
    from protocols.topology.communication_graph import Graph


@dataclass(frozen=True)
class Finding:
    """A broken rule at a path of the configuration; `key` places it at the key rather than at the value."""

    path: Path
    text: str
    suggestion: str | None = None
    severity: Severity = "error"
    key: bool = False
    missing: bool = False
    """whether a package is missing"""


@dataclass
class RuleContext:
    """The inputs of rules that concern several sections: the configuration and the resources of this machine. Derived values (graph,
    findings, facts of the environment) are computed on first use."""

    configuration: Configuration
    machine: MachineResources

    @cached_property
    def graph(self) -> Graph | UnfitTopology:
        """The communication graph, or the reason why it cannot be built."""
        from protocols.topology.communication_graph import make_graph  # with numpy, which a configuration is read without

        configuration = self.configuration
        try:
            return make_graph(configuration.network.topology, configuration.agent_names(), configuration.seed)
        except UnfitTopology as error:
            return error

    @property
    def edges(self) -> list[tuple[str, str]]:
        """Edges of the communication graph without their directions; none where there is no graph."""
        return [] if isinstance(self.graph, UnfitTopology) else self.graph.neighbours

    @cached_property
    def environment(self) -> list[Finding]:
        """Why the environment cannot be made for these agents; empty where it can."""
        from env_server.environments.registry import options_class

        settings, names = self.configuration.environment, self.configuration.agent_names()
        typed = options_class(settings.id)
        if typed is not None:
            checked = validate(planted(settings.options, Location("options")), typed, {})
            if checked.problems:
                return findings(checked, ("environment", "options"))
        found = environment_problems(settings, names, self.edges)
        return [Finding(one.path, one.message, missing=one.missing) for one in found]

    @cached_property
    def facts(self) -> EnvironmentFacts:
        """Goal space and layout of observations of the environment; only for an environment that has no findings in `environment`."""
        return environment_facts(self.configuration.environment, self.configuration.agent_names(), self.edges)

    @cached_property
    def agents(self) -> list[tuple[str, Path, AgentSettings]]:
        """Agents whose overrides are valid, one common and those that differ: name, the path at which to change the settings
        (`agents.overrides.NAME`, or `agents` for the common ones), and the settings."""
        configuration = self.configuration
        names, overrides = configuration.agent_names(), configuration.agents.overrides
        common = next((name for name in names if name not in overrides), None)
        tops: dict[str, Path] = {} if common is None else {common: ("agents",)}
        tops |= {name: ("agents", "overrides", name) for name in overrides if name in names}
        checked = {name: agent_checked(configuration, name) for name in tops}
        return [(name, tops[name], one.model) for name, one in checked.items() if one.model is not None and not one.problems]

    @property
    def playable(self) -> bool:
        """Whether the environment can be made, so that `facts` has its goals and observations."""
        return not isinstance(self.graph, UnfitTopology) and not self.environment

    @property
    def observers(self) -> list[tuple[Path, AgentSettings, ObservationFacts]]:
        """As `agents`, with what each of them observes; empty where the environment is not `playable`."""
        return [(top, settings, self.facts.sights[name]) for name, top, settings in self.agents] if self.playable else []

    def updated(self, configuration: Configuration) -> RuleContext:
        """The same for another configuration; what was computed is kept where it depends on nothing that differs."""
        new = RuleContext(configuration, self.machine)
        if _inputs(configuration) == _inputs(self.configuration):
            for name in ("graph", "environment", "facts"):
                if name in vars(self):
                    vars(new)[name] = vars(self)[name]
        return new


def _inputs(configuration: Configuration) -> object:
    """Everything that the graph and the environment depend on."""
    environment = configuration.environment.model_copy(update={"supervisor": None})
    return environment, configuration.network.topology, configuration.agents.count, configuration.seed


Check = Callable[[RuleContext], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A cross check and the keys it reads."""

    paths: tuple[str, ...]
    check: Check


RULES: list[Rule] = []
"""all rules, in the order in which they are asked"""


def reads(*paths: str) -> Callable[[Check], Check]:
    """Decorator that adds a rule; `paths` are the keys it reads."""

    def add(check: Check) -> Check:
        RULES.append(Rule(paths, check))
        return check

    return add


def run_checks(rules: Iterable[Rule], subject: RuleContext, tree: Node, broken: set[Path]) -> list[Problem]:
    """All findings of the rules that read nothing broken."""
    problems = []
    for rule in rules:
        if not any(overlap(tuple(path.split(".")), other) for path in rule.paths for other in broken):
            for finding in rule.check(subject):
                location = place(tree, finding.path, key=finding.key)
                path, missing = format_path(finding.path), finding.missing
                problems.append(Problem(str(location), path, finding.text, finding.suggestion, finding.severity, missing))
    return problems


def findings(checked: Validated[Any], top: Path) -> list[Finding]:
    """The problems of a part of the configuration that was validated by itself, and stands at `top`."""
    at_key = ("unknown key", "this key is now")
    pairs = zip(checked.problems, checked.paths, strict=True)
    return [Finding((*top, *path), one.text, one.suggestion, key=one.text.startswith(at_key)) for one, path in pairs]


def agent_checked(configuration: Configuration, name: str) -> Validated[AgentSettings]:
    """What `agent_settings` gives, with its problems where there are any."""
    common = configuration.agents.model_dump(mode="json", include=set(AgentSettings.model_fields))
    tree = planted(merge_overrides(common, configuration.agents.overrides.get(name, {})), Location("agents"))
    return validate(tree, AgentSettings, {})


def agent_settings(configuration: Configuration, name: str) -> AgentSettings:
    """What the agent `name` is made of: `agents` with its entry of `agents.overrides` laid over it. A component of another `kind`
    replaces the common one whole; else keys are merged. `ValueError` for a configuration that was not checked."""
    checked = agent_checked(configuration, name)
    if checked.model is None or checked.problems:
        raise ValueError(f"agents.overrides.{name}: {'; '.join(problem.message for problem in checked.problems)}")
    return checked.model


# --- for rules ------------------------------------------------------------------------------------------------------------------------


def components_of(settings: AgentSettings) -> dict[str, ComponentSettings]:
    """The components of an agent by their keys, without those that are null."""
    return {key: part for key in type(settings).model_fields if isinstance(part := getattr(settings, key), ComponentSettings)}


def components_with_groups(configuration: Configuration, settings: AgentSettings) -> list[ComponentSettings]:
    """What may have parameter groups at an agent: its components, and the negotiation."""
    negotiation = configuration.exchange.negotiation
    return [*components_of(settings).values(), *([] if negotiation is None else [negotiation])]


def groups_of(configuration: Configuration, settings: AgentSettings) -> list[str]:
    """Names of the parameter groups of an agent."""
    return [group for component in components_with_groups(configuration, settings) for group in component.groups]


def kinds_with(room: str, *capabilities: str) -> str:
    """The kinds of a room that declare all of these capabilities, for messages: `ppo or impala`; `another one` if no kind does. Kinds that
    need joint experience by default are named only where "joint" is asked for, and those for stored data only for "offline"."""
    known = {kind: component(room, kind).settings for kind in kinds(room)}
    known = {kind: settings for kind, settings in known.items() if not getattr(settings, "placeholder", False)}
    able = [kind for kind, settings in known.items() if set(capabilities) <= set(getattr(settings, "capabilities", ()))]
    for special in {"joint", "offline"} - {*capabilities}:
        able = [kind for kind in able if special not in getattr(known[kind].model_construct(), "capabilities", ())]
    return " or ".join(filter(None, (", ".join(able[:-1]), *able[-1:]))) or "another one"


def meant(name: str, names: Sequence[str]) -> str | None:
    """The nearest name, except for well-spelt names of agents that do not exist: agent-7 is no misspelling of agent-3."""
    return None if re.fullmatch(r"agent-\d+", name) else nearest(name, names)


def span(agents: Sequence[str]) -> str:
    """Many names by the first and the last of them."""
    return f"{agents[0]} ... {agents[-1]}" if len(agents) > 2 else ", ".join(agents)


def some(names: Sequence[str]) -> str:
    """Many names by the first five of them."""
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"
