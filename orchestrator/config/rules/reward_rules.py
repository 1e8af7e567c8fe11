"""Rules of teachers and curiosity, and of networks over grids."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.config.checks.cross_checks import Finding, RuleContext
from orchestrator.config.rules.rule_registry import Rules, kinds_with, placed, playable, seeing

RULES = Rules()
reads = RULES.reads


@reads("agents")
def _rewards(subject: RuleContext) -> Iterator[Finding]:
    """Intrinsic rewards are added to rollouts; replay buffers hold the environment's rewards only."""
    for _, top, settings in placed(subject):
        if "rollout" in settings.learner.capabilities:
            continue
        for part in ("teacher", "curiosity", "shaping"):
            if getattr(settings, part) is not None:
                text = f"changes the rewards of rollouts, which learner {settings.learner.kind} does not use"
                yield Finding((*top, part), f"{text}; write null, or choose {kinds_with('learner', 'rollout')}")


@reads("environment", "agents", "network.topology")
def _grids(subject: RuleContext) -> Iterator[Finding]:
    """Components that need the cells of a grid."""
    environment = subject.configuration.environment.id
    for top, settings, sight in seeing(subject):
        if settings.teacher is not None and "whole_grid" in settings.teacher.capabilities and not sight.whole:
            text = f"sets goals in the whole grid, which {environment} does not show; write null"
            yield Finding((*top, "teacher"), f"{text}, or environment.options.view: full (or both)" if sight.cells else text)
        if settings.curiosity is not None and "grid" in settings.curiosity.capabilities and not sight.cells:
            text = f"{settings.curiosity.kind} counts visits of a grid, and {environment} shows none; write kind: rnd, or null"
            yield Finding((*top, "curiosity"), text)
        if settings.learner.needs_grid and not sight.cells:
            yield Finding((*top, "learner", "network"), f"{environment} shows no grid of cells; write auto")


@reads("environment", "agents", "network.topology")
def _restarting_teachers(subject: RuleContext) -> Iterator[Finding]:
    """Teachers that end episodes need copies that one agent plays alone."""
    environment = subject.configuration.environment
    if not playable(subject) or subject.facts.single_player:
        return
    for _, top, settings in placed(subject):
        if settings.teacher is not None and settings.teacher.ends_episodes:
            text = f"an agent may end only episodes that it plays alone, and {environment.id} has none of those; write false"
            more = ", or environment.options.players: one" if "players" in _option_names(subject) else ""
            yield Finding((*top, "teacher", "restart_episode"), text + more)


def _option_names(subject: RuleContext) -> list[str]:
    options = subject.environments.options(subject.configuration.environment)
    return list(options.by_key()) if options is not None else []


@reads("environment", "agents", "exchange.negotiation", "network.topology")
def _negotiating_teachers(subject: RuleContext) -> Iterator[Finding]:
    """Goals that teachers propose are exchanged between agents of one copy, by the value that their policies expect."""
    configuration = subject.configuration
    negotiation, where = configuration.exchange.negotiation, ("exchange", "negotiation")
    if negotiation is None or "teacher_goals" not in negotiation.capabilities:
        return
    for name, top, settings in placed(subject):
        learner, kind = settings.learner, negotiation.kind
        if settings.teacher is None or "swappable_goals" not in settings.teacher.capabilities:
            text = f"{kind} exchanges goals that teachers propose, and {name} has no teacher that allows it"
            yield Finding(where, f"{text}; write null, or agents.teacher: {{kind: {kinds_with('teacher', 'swappable_goals')}}}")
        if "values" not in learner.capabilities:
            text = f"{kind} compares the values of goals, which {learner.kind} does not estimate"
            yield Finding((*top, "learner", "kind"), f"{text}; choose {kinds_with('learner', 'values')}")
        elif learner.recurrent:
            text = f"{kind} compares the values of goals, which must not depend on a recurrent state; write 0"
            yield Finding((*top, "learner", "lstm_layers"), text)
    environment = configuration.environment
    if playable(subject) and subject.facts.single_player:
        text = f"no agent could pursue another agent's goal: every copy of {environment.id} belongs to one agent"
        cure = "write environment.options.players: all, or null" if "players" in _option_names(subject) else "write null"
        yield Finding(where, f"{text}; {cure}")
