"""Rules of the environment: whether it can be made, its goals, and what is observed."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.config.checks.cross_checks import Finding, RuleContext, kinds_with, reads, span
from orchestrator.config.parsing.yaml_tree import Path
from protocols.topology.settings import UnfitTopology


@reads("environment", "agents.count", "network.topology")
def _environment(subject: RuleContext) -> Iterator[Finding]:
    if not isinstance(subject.graph, UnfitTopology):
        yield from subject.environment


@reads("environment", "agents.count", "network.topology")
def _flattened(subject: RuleContext) -> Iterator[Finding]:
    if not subject.playable:
        return
    for (space, size), agents in subject.facts.flattened.items():
        text = f"observations {space} of {span(agents)} are flattened to one vector of {size} numbers "
        text += "(images have dtype uint8)" if space.startswith("Box(") else "(discrete values one-hot)"
        yield Finding(("environment", "id"), text, severity="notice")


@reads("environment", "agents.count", "network.topology")
def _images(subject: RuleContext) -> Iterator[Finding]:
    if not subject.playable:
        return
    settings, where = subject.configuration.environment, ("environment", "images")
    for (before, after), agents in subject.facts.reduced_images.items():
        shapes = f"of {before[0]} x {before[1]} pixels are reduced to {after[0]} x {after[1]}"
        text = f"images of {span(agents)} {shapes}; environment.images.size sets another size, or null"
        yield Finding((*where, "size"), text, severity="notice")
    applies = type(settings.images)(frame_skip=settings.images.frame_skip, sticky_actions=settings.images.sticky_actions)
    if settings.images != applies and not any(sight.image for sight in subject.facts.sights.values()):
        yield Finding(where, f"has no effect: {settings.id} shows no images", severity="warning")


@reads("environment", "agents", "exchange", "network.topology")
def _goals(subject: RuleContext) -> Iterator[Finding]:
    configuration = subject.configuration
    if not subject.playable:
        return  # an environment that cannot be made has no known goals
    goals, exchange = subject.facts.goals, configuration.exchange
    for _, top, settings in subject.agents:
        if subject.facts.has_goals and settings.goals is None:
            text = f"{configuration.environment.id} has {goals or 'vector'} goals, and no goal source chooses among them"
            yield Finding((*top, "goals"), f"{text}; write goals: {{kind: uniform}}")
        if subject.facts.vector_goals and settings.goals is not None and "vector_goals" not in settings.goals.capabilities:
            text = f"{settings.goals.kind} chooses among numbered goals, and {configuration.environment.id} has vector goals"
            yield Finding((*top, "goals", "kind"), f"{text}; write {kinds_with('goals', 'vector_goals')}")
        if settings.goals is not None and "needs_traces" in settings.goals.capabilities and exchange.hindsight is None:
            text = f"{settings.goals.kind} learns from the traces of partners after an episode, and exchange.hindsight is null"
            yield Finding((*top, "goals", "kind"), f"{text}; write hindsight: {{}}, or another goal source")
        if goals > 0 and settings.world_model is not None and settings.world_model.imagination is not None:
            text = "imagined transitions that are kept have no goals; write null, which imagines goals anew for every batch"
            yield Finding((*top, "world_model", "imagination"), text)
    if configuration.environment.supervisor is not None and goals > 0 and exchange.negotiation is not None:
        text = "gives the agents their goals, and exchange.negotiation lets them agree on others; write null for one of them"
        yield Finding(("environment", "supervisor"), text)


@reads("environment", "exchange.negotiation", "clock", "tick", "network.topology", "agents.count")
def _negotiation(subject: RuleContext) -> Iterator[Finding]:
    """Keys without effect, and deadlines within which no agreement is possible."""
    configuration = subject.configuration
    negotiation, where = configuration.exchange.negotiation, ("exchange", "negotiation")
    if negotiation is None:
        return
    for key, text in negotiation.advice(subject.facts.goals if subject.playable else 0):
        yield Finding((*where, key), text, None, "warning")
    longest_wait, tick = configuration.environment.goal_deadline, configuration.tick
    if configuration.clock == "logical" and negotiation.deadline < 2 * tick:
        text = f"a proposal and its answer take two ticks of {1000 * tick:g}ms, so that no agreement is possible; write that or more"
        yield Finding((*where, "deadline"), text)
    elif negotiation.deadline > longest_wait and "episode_goals" in negotiation.capabilities:
        text = f"is longer than an idle copy waits for goals (environment.goal_deadline, {longest_wait:g}s) before it draws them itself"
        yield Finding((*where, "deadline"), f"{text}; write less, or raise goal_deadline", None, "warning")


@reads("environment", "agents", "network.topology")
def _sights(subject: RuleContext) -> Iterator[Finding]:
    """Components that need the bounds of the observation."""
    environment = subject.configuration.environment.id
    for top, settings, sight in subject.observers:
        model = settings.world_model
        if settings.frequencies and not sight.bounded:
            yield Finding((*top, "frequencies"), f"{environment} has no observed numbers with bounds; write 0")
        if model is None:
            continue
        inside: Path = (*top, "world_model")
        if model.imagination is not None and model.imagination.uniform_start_ratio > 0 and (sight.unbounded or sight.codes):
            text = f"{environment} does not give the bounds of all observed numbers; write 0"
            yield Finding((*inside, "imagination", "uniform_start_ratio"), text)
        if model.needs_bounds and sight.unbounded and not sight.codes:
            text = f"{environment} does not give the bounds of all observed numbers; write their bounds, for example [[-1, 1]]"
            yield Finding((*inside, "bounds"), text)
