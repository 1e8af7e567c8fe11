"""Rules of what motivates a policy: teachers and curiosity, and the networks that look at grids."""

from __future__ import annotations

from collections.abc import Iterator

from agent_node.learners.settings import RolloutSettings
from orchestrator.config.checks.cross_checks import Finding, RuleContext
from orchestrator.config.rules.rule_registry import Rules, placed, playable, seeing

RULES = Rules()
reads = RULES.reads


@reads("agents")
def _rewards(subject: RuleContext) -> Iterator[Finding]:
    """Rewards of an agent's own are added to rollouts, and replay buffers know only the environment's."""
    for _, top, settings in placed(subject):
        if isinstance(settings.learner, RolloutSettings):
            continue
        for part in ("teacher", "curiosity", "shaping"):
            if getattr(settings, part) is not None:
                text = (
                    f"changes the rewards of rollouts, and learner {settings.learner.kind} takes none; write null, or choose impala or ppo"
                )
                yield Finding((*top, part), text)


@reads("environment", "agents", "network.topology")
def _grids(subject: RuleContext) -> Iterator[Finding]:
    """Parts of an agent that look at the cells of a grid."""
    environment = subject.configuration.environment.id
    for top, settings, sight in seeing(subject):
        if settings.teacher is not None and not sight.whole:
            text = f"sets goals in the whole grid, which {environment} does not show; write null"
            yield Finding((*top, "teacher"), f"{text}, or environment.options.view: full (or both)" if sight.cells else text)
        if settings.curiosity is not None and settings.curiosity.needs_grid and not sight.cells:
            text = f"{settings.curiosity.kind} counts visits of a grid, and {environment} shows none; write kind: rnd, or null"
            yield Finding((*top, "curiosity"), text)
        if getattr(settings.learner, "network", "auto") == "grid" and not sight.cells:
            yield Finding((*top, "learner", "network"), f"{environment} shows no grid of cells; write auto")


@reads("environment", "agents", "network.topology")
def _restarting_teachers(subject: RuleContext) -> Iterator[Finding]:
    """Episodes that a teacher ends."""
    environment = subject.configuration.environment
    options = subject.environments.options(environment)
    if not playable(subject) or (options is not None and getattr(options(**environment.options), "players", None) == "one"):
        return
    for _, top, settings in placed(subject):
        if getattr(settings.teacher, "restart_episode", False):
            text = f"an agent ends episodes of its own alone, and {environment.id} has none of those; write false"
            more = ", or environment.options.players: one" if environment.id.startswith("minigrid:") else ""
            yield Finding((*top, "teacher", "restart_episode"), text + more)


@reads("environment", "agents", "exchange.negotiation", "network.topology")
def _negotiating_teachers(subject: RuleContext) -> Iterator[Finding]:
    """Goals that teachers propose change hands between agents of one world, by what their policies expect of them."""
    configuration = subject.configuration
    negotiation, where = configuration.exchange.negotiation, ("exchange", "negotiation")
    if negotiation is None or not negotiation.swaps_teacher_goals:
        return
    for name, top, settings in placed(subject):
        learner = settings.learner
        if settings.teacher is None:
            text = f"{negotiation.kind} is about goals that teachers propose, and {name} has no teacher"
            yield Finding(where, f"{text}; write null, or agents.teacher: {{kind: amigo}}")
        if "values" not in learner.capabilities:
            text = f"{negotiation.kind} asks what a goal is worth to the policy, which {learner.kind} can't say; choose ppo or impala"
            yield Finding((*top, "learner", "kind"), text)
        elif getattr(learner, "lstm_layers", 0):
            text = f"{negotiation.kind} asks what a goal is worth to the policy, which must not depend on what it remembers; write 0"
            yield Finding((*top, "learner", "lstm_layers"), text)
    environment = configuration.environment
    options = subject.environments.options(environment)
    if playable(subject) and options is not None and getattr(options(**environment.options), "players", "all") == "one":
        text = f"nobody could pursue another's goal: every copy of {environment.id} belongs to one agent"
        yield Finding(where, f"{text}; write environment.options.players: all, or null")
