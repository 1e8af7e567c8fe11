"""Features that do not apply to the environment or to the number of agents are switched off, with one notice each.

A configuration started with another `environment.id`, or with one agent, keeps running without hand-written nulls. Contradictions that no
such change explains (a teacher for a learner that cannot use it) stay errors of the rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config.checks.cross_checks import RuleContext, groups_of
from orchestrator.config.checks.environment_facts import environment_problems
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.command_line_overrides import materialised
from orchestrator.config.parsing.problems import Problem, Severity
from orchestrator.config.parsing.yaml_tree import (
    List,
    Location,
    Map,
    Node,
    Path,
    Scalar,
    changed,
    find,
    format_path,
    place,
    plain,
    planted,
    put,
)
from protocols.topology.settings import UnfitTopology

ADJUSTED = Location("does not apply")
"""the origin of adjusted values"""
CHOSEN = Location("default for this environment")
"""the origin of defaults that depend on the environment"""
_OTHER_AGENTS = 3
"""agents beyond those that the environment's own number counts, for which a smaller number is tried"""
_OF_AN_ENVIRONMENT = ("options", "goals", "wrappers", "images")
"""keys of the section `environment` that suit one environment only"""


@dataclass(frozen=True)
class Adjustment:
    """A value that replaces the configured one, and why; without `text` no notice is given, since nothing was configured there."""

    path: Path
    value: Any
    text: str
    origin: Location = ADJUSTED
    severity: Severity = "notice"

    def notice(self, tree: Node) -> Problem:
        """The notice, at the place where the value was configured."""
        return Problem(str(place(tree, self.path)), format_path(self.path), self.text, None, self.severity)


def adjusted(tree: Node, adjustments: Sequence[Adjustment]) -> Node:
    """A copy of the tree with the adjusted values."""
    for one in adjustments:
        for length in range(1, len(one.path)):
            tree = materialised(tree, one.path[:length], Configuration)
        tree = put(tree, one.path, planted(one.value, one.origin))
    return tree


def without_foreign_options(base: Node, identifier: object) -> tuple[Node, list[Problem]]:
    """`base` without the options of its environment, where `identifier` is to replace `environment.id` and names one with other options."""
    from env_server.environments.registry import options_class

    old = find(base, ("environment", "id"))
    if not (isinstance(old, Scalar) and isinstance(old.value, str) and isinstance(identifier, str)) or old.value == identifier:
        return base, []
    if (options := options_class(old.value)) is not None and options is options_class(identifier):
        return base, []
    notices = []
    for key in _OF_AN_ENVIRONMENT:
        path: Path = ("environment", key)
        given = find(base, path)
        if isinstance(given, (Map, List)) and plain(given):
            text = f"dropped: written for {old.value}, and environment.id is {identifier}"
            notices.append(Problem(str(place(base, path)), format_path(path), text, None, "notice"))
            base = changed(base, path, ADJUSTED, lambda _: None)
    return base, notices


def agent_count_adjustments(subject: RuleContext, tree: Node) -> list[Adjustment]:
    """The environment's own number of agents follows `agents.count`, where the environment has an option for it that is not given, and a
    value gives that number: `N: 3` of simple_adversary makes 4 agents."""
    if isinstance(subject.graph, UnfitTopology) or not any(finding.path == ("agents", "count") for finding in subject.environment):
        return []
    from env_server.environments.registry import agent_count_option

    settings, count = subject.configuration.environment, subject.configuration.agents.count
    option = agent_count_option(settings)
    if option is None or option in settings.options:
        return []
    for value in range(count, max(count - _OTHER_AGENTS, 1) - 1, -1):
        changed = settings.model_copy(update={"options": {**settings.options, option: value}})
        found = environment_problems(changed, subject.configuration.agent_names(), ())
        if any(one.path[:2] in (("agents", "count"), ("environment", "options")) for one in found):
            continue
        text = f"set to {count}, the number of agents" if value == count else f"set to {value}, which makes {count} agents"
        return [Adjustment(("environment", "options", option), value, f"{text} (agents.count)")]
    return []


def feature_adjustments(subject: RuleContext, tree: Node) -> list[Adjustment]:
    """Everything that is switched off, each key once."""
    found: dict[Path, Adjustment] = {}
    for one in _all(subject, tree):
        found.setdefault(one.path, one)
    return list(found.values())


def _all(subject: RuleContext, tree: Node) -> Iterator[Adjustment]:
    if subject.configuration.agents.count == 1:
        yield from _for_one_agent(subject)
    if subject.playable:
        if not subject.facts.has_goals:
            yield from _without_goals(subject, tree)
            yield from _default_copies(subject, tree)
        elif subject.facts.vector_goals:
            name = subject.configuration.environment.id
            yield from _without_numbered_goals(subject, f"switched off: it is for numbered goals, and {name} has vector goals")
        yield from _learner_defaults(subject, tree)
        yield from _world_models(subject, tree)
    yield from _default_groups(subject, tree)
    yield from _joint_defaults(subject, tree)


def _for_one_agent(subject: RuleContext) -> Iterator[Adjustment]:
    for key in ("consensus", "statistics", "plans", "experience", "negotiation"):
        if getattr(subject.configuration.exchange, key) is not None:
            yield Adjustment(("exchange", key), None, "switched off: there is no other agent (agents.count is 1)")


def _without_goals(subject: RuleContext, tree: Node) -> Iterator[Adjustment]:
    environment, exchange = subject.configuration.environment, subject.configuration.exchange
    reason = f"switched off: {environment.id} has no goals; environment.goals adds them"
    for _, top, settings in subject.agents:
        if settings.goals is not None and _own(subject, top, "goals"):
            yield Adjustment((*top, "goals"), None, reason if find(tree, (*top, "goals")) is not None else "")
    if exchange.hindsight is not None:
        yield Adjustment(("exchange", "hindsight"), None, reason)
    yield from _without_numbered_goals(subject, reason)


def _learner_defaults(subject: RuleContext, tree: Node) -> Iterator[Adjustment]:
    """Values of learners' fields that are not given, where returns are between 0 and 1, where grids or images are observed, or where
    short episodes are cut off."""
    facts, environment = subject.facts, subject.configuration.environment.id
    for name, top, settings in subject.agents:
        sight, defaults = facts.sights[name], dict(settings.learner.goal_defaults if facts.unit_returns else {})
        defaults |= settings.learner.observation_defaults(sight.cells, sight.image)
        limit = None if facts.unit_returns else facts.episode_limit
        limited = {} if limit is None else dict(settings.learner.limit_defaults(limit))
        for key, value in (defaults | limited).items():
            path, written = (*top, "learner", key), any(find(tree, (*at, "learner", key)) is not None for at in (("agents",), top))
            if not written and _own(subject, top, "learner"):
                text = f"{value} was chosen: {environment} cuts episodes off after {limit} steps; name another one by {format_path(path)}"
                yield Adjustment(path, value, text if key in limited else "", CHOSEN, "choice")


def _default_copies(subject: RuleContext, tree: Node) -> Iterator[Adjustment]:
    """Fewer copies than `environment.copies` has by default, where they are not given and all learners replay: the replay buffer takes
    episodes that have ended, and those of K copies end K times as many environment steps after they began."""
    copies = [getattr(settings.learner, "default_copies", 0) for _, _, settings in subject.agents]
    if find(tree, ("environment", "copies")) is None and copies and all(copies):
        yield Adjustment(("environment", "copies"), max(copies), "", CHOSEN)


def _without_numbered_goals(subject: RuleContext, reason: str) -> Iterator[Adjustment]:
    environment, exchange = subject.configuration.environment, subject.configuration.exchange
    if exchange.negotiation is not None and "episode_goals" in exchange.negotiation.capabilities:
        yield Adjustment(("exchange", "negotiation"), None, reason)
    if environment.supervisor is not None:
        yield Adjustment(("environment", "supervisor"), None, reason)


def _world_models(subject: RuleContext, tree: Node) -> Iterator[Adjustment]:
    """World models, where images are observed or goals are vectors, and what depends on them."""
    configuration, off = subject.configuration, []
    for name, top, settings in subject.agents:
        model = settings.world_model
        images = subject.facts.sights[name].codes
        if model is None or "vector_observations" not in model.capabilities or not (images or subject.facts.vector_goals):
            continue
        off.append(model)
        if _own(subject, top, "world_model"):
            what = "predicts vectors" if images else "predicts rewards without goals"
            shown = "shows images" if images else "has vector goals"
            text = f"switched off: {model.kind} {what}, and {configuration.environment.id} {shown}"
            yield Adjustment((*top, "world_model"), None, text)
        if settings.optimism is not None and _own(subject, top, "optimism"):
            yield Adjustment((*top, "optimism"), None, "switched off: it needs a world model")
    if not off:
        return
    for key in ("statistics", "plans"):
        if getattr(configuration.exchange, key) is not None:
            yield Adjustment(("exchange", key), None, "switched off: the world model is switched off")
    lost = {group for model in off for group in model.groups}
    consensus = configuration.exchange.consensus
    if consensus is not None and lost & set(consensus.groups):
        kept = [group for group in consensus.groups if group not in lost]
        path: Path = ("exchange", "consensus", "groups") if kept else ("exchange", "consensus")
        yield Adjustment(path, kept or None, f"{', '.join(sorted(lost))} switched off: the world model is switched off")


def _default_groups(subject: RuleContext, tree: Node) -> Iterator[Adjustment]:
    """The default list of averaged groups, without those that no agent has."""
    consensus, path = subject.configuration.exchange.consensus, ("exchange", "consensus", "groups")
    if consensus is None or find(tree, path) is not None:
        return
    there = {group for _, _, settings in subject.agents for group in groups_of(subject.configuration, settings)}
    kept = [group for group in consensus.groups if group in there]
    if kept and kept != consensus.groups:
        yield Adjustment(path, kept, "")


def _joint_defaults(subject: RuleContext, tree: Node) -> Iterator[Adjustment]:
    """Joint experience, and a complete graph for it, where a learner needs it and nothing is written about them."""
    path: Path = ("exchange", "joint_experience")
    if not any("joint" in settings.learner.capabilities for _, _, settings in subject.agents):
        return
    if find(tree, path) is None:
        yield Adjustment(path, {}, "", CHOSEN)
    if find(tree, ("network", "topology")) is None:
        yield Adjustment(("network", "topology"), {"kind": "complete"}, "", CHOSEN)


def _own(subject: RuleContext, top: Path, key: str) -> bool:
    """Whether a key is to be changed at `top`: always for the settings of all agents, and for an agent that overrides it."""
    return top == ("agents",) or key in subject.configuration.agents.overrides[str(top[-1])]
