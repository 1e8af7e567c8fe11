"""Cross checks: how rules between keys, and between the configuration and this machine, are run. The rules are in `rules`.

Each names the keys it reads. It runs when none of them is broken, so a mistake in one corner does not hide those in others, and
is not reported twice either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from agent_node.settings.agent import AgentSettings
from orchestrator.config.checks.environment_facts import CheckEnvironment, EnvironmentFacts
from orchestrator.config.checks.field_checks import Validated, validate
from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.problems import Problem, Severity
from orchestrator.config.parsing.yaml_tree import Location, Node, Path, format_path, place, planted
from protocols.runtime.override_merging import merge_overrides
from protocols.topology.unfit_topology import UnfitTopology

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


@dataclass
class RuleContext:
    """The inputs of rules that concern several sections: the configuration, the resources of this machine, and the environments. Derived
    values (graph, findings, facts) are computed on first use."""

    configuration: Configuration
    machine: MachineResources
    environments: CheckEnvironment

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
        settings, names = self.configuration.environment, self.configuration.agent_names()
        typed = self.environments.options(settings)
        if typed is not None:
            checked = validate(planted(settings.options, Location("options")), typed, {})
            if checked.problems:
                return [
                    Finding(("environment", "options", *path), one.text, one.suggestion, key=one.text.startswith("unknown key"))
                    for one, path in zip(checked.problems, checked.paths, strict=True)
                ]
        return [Finding(path, text) for path, text in self.environments.problems(settings, names, self.edges)]

    @cached_property
    def facts(self) -> EnvironmentFacts:
        """Goal space and layout of observations of the environment; only for an environment that has no findings in `environment`."""
        return self.environments.facts(self.configuration.environment, self.configuration.agent_names(), self.edges)

    def updated(self, configuration: Configuration) -> RuleContext:
        """The same for another configuration; what was computed is kept where it depends on nothing that differs."""
        new = RuleContext(configuration, self.machine, self.environments)
        if _inputs(configuration) == _inputs(self.configuration):
            for name in ("graph", "environment", "facts"):
                if name in vars(self):
                    vars(new)[name] = vars(self)[name]
        return new


def _inputs(configuration: Configuration) -> object:
    """Everything that the graph and the environment depend on."""
    environment = configuration.environment.model_copy(update={"supervisor": None})
    return environment, configuration.network.topology, configuration.agents.count, configuration.seed


@dataclass(frozen=True)
class Rule:
    """A cross check and the keys it reads."""

    paths: tuple[str, ...]
    check: Callable[[RuleContext], Iterator[Finding]]


def run_checks(rules: Iterable[Rule], subject: RuleContext, tree: Node, broken: set[Path]) -> list[Problem]:
    """All findings of the rules that read nothing broken."""
    problems = []
    for rule in rules:
        if not any(_overlap(tuple(path.split(".")), other) for path in rule.paths for other in broken):
            for finding in rule.check(subject):
                location = place(tree, finding.path, key=finding.key)
                problems.append(Problem(str(location), format_path(finding.path), finding.text, finding.suggestion, finding.severity))
    return problems


def _overlap(path: Path, other: Path) -> bool:
    short = min(len(path), len(other))
    return path[:short] == other[:short]


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
