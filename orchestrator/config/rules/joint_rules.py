"""Rules of learners with the capability "joint", which learn from the steps of all agents at the same moments."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from orchestrator.config.checks.cross_checks import Finding, RuleContext, kinds_with, reads, some
from orchestrator.config.parsing.yaml_tree import Path
from protocols.topology.settings import UnfitTopology

_WHERE: Path = ("exchange", "joint_experience")


@reads("agents", "exchange.joint_experience")
def _needed(subject: RuleContext) -> Iterator[Finding]:
    """It is sent by all agents, to learners that all use it."""
    given = subject.configuration.exchange.joint_experience is not None
    for name, _, settings in subject.agents:
        joint = "joint" in settings.learner.capabilities
        if joint and not given:
            yield Finding(_WHERE, f"{settings.learner.kind} of {name} learns from the steps of all agents; write joint_experience: {{}}")
            return
        if given and not joint:
            text = f"{settings.learner.kind} of {name} does not use the steps of other agents"
            yield Finding(_WHERE, f"{text}; write null, or choose agents.learner.kind {kinds_with('learner', 'joint')} for all agents")
            return


@reads("agents", "agents.count", "network.topology", "exchange.joint_experience")
def _complete_graph(subject: RuleContext) -> Iterator[Finding]:
    if subject.configuration.exchange.joint_experience is None or isinstance(subject.graph, UnfitTopology):
        return
    there = {frozenset(edge) for edge in subject.edges}
    lacking = [pair for pair in combinations(subject.configuration.agent_names(), 2) if frozenset(pair) not in there]
    if lacking:
        pairs = some([" and ".join(pair) for pair in lacking])
        text = f"joint experience goes from each agent to all others, and there is no edge between {pairs}"
        yield Finding(("network", "topology"), f"{text}; write {{kind: complete}}")


@reads("environment", "agents", "network.topology", "exchange")
def _whole_team(subject: RuleContext) -> Iterator[Finding]:
    """All agents are in every episode, and learn from its steps as they are."""
    if not any("joint" in settings.learner.capabilities for _, _, settings in subject.agents):
        return
    exchange, environment = subject.configuration.exchange, subject.configuration.environment.id
    for key in ("hindsight", "experience"):
        if getattr(exchange, key) is not None:
            yield Finding(("exchange", key), "joint steps are not relabelled, nor mixed with those of single agents; write null")
    if not subject.playable:
        return
    kind = next(settings.learner.kind for _, _, settings in subject.agents if "joint" in settings.learner.capabilities)
    cure = f"choose another agents.learner.kind than {kind}"
    if subject.facts.has_goals:
        yield Finding(("environment", "id"), f"{environment} has goals, which joint steps do not contain; {cure}")
    if subject.facts.single_player and subject.configuration.agents.count > 1:
        yield Finding(("environment", "id"), f"each copy of {environment} has one agent, and joint steps are those of all agents; {cure}")
    if subject.facts.turn_based:
        text = f"the agents of {environment} act in turns, and joint steps are what all agents do at the same moments"
        wanted = {"discrete" if sight.discrete_actions else "continuous" for sight in subject.facts.sights.values()}
        yield Finding(("agents", "learner", "kind"), f"{text}; choose {kinds_with('learner', *wanted)}")
    if subject.facts.partial_teams:
        text = f"an episode of {environment} has only some of the agents, and joint steps are those of all"
        yield Finding(("environment", "options"), f"{text}; write options with which all take part, or {cure}")


@reads("agents")
def _agents(subject: RuleContext) -> Iterator[Finding]:
    """What does not go together with joint steps; features of all agents are computed alike."""
    first = None
    for name, top, settings in subject.agents:
        learner = settings.learner
        if "joint" not in learner.capabilities:
            continue
        for part in ("world_model", "teacher", "curiosity", "shaping"):
            if getattr(settings, part) is not None:
                yield Finding((*top, part), f"learner {learner.kind} learns from the joint steps as they are; write null")
        if "recurrent" in learner.capabilities:
            yield Finding((*top, "learner", "recurrent"), "joint steps are learnt from without recurrent layers; write null")
        first = first or (name, settings)
        for key in ("history", "frequencies"):
            if getattr(settings, key) != getattr(first[1], key):
                text = f"{name} and {first[0]} differ, and joint steps need features that are computed alike"
                yield Finding((*top, key), f"{text}; write {getattr(first[1], key)}")
