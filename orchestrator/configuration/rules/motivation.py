"""Rules of what motivates a policy: teachers and curiosity, and the networks that look at grids."""

from __future__ import annotations

from collections.abc import Iterator

from agent_node.settings import RolloutSettings
from protocols.topology.unfit import UnfitTopology

from ..checks import Finding, Subject
from ..locations import Path
from .reading import Rules, agents_of

RULES = Rules()
reads = RULES.reads


@reads("agents")
def _rewards(subject: Subject) -> Iterator[Finding]:
    """Rewards of an agent's own are added to rollouts, and replay buffers know only the environment's."""
    overrides = subject.configuration.agents.overrides
    for name, settings in agents_of(subject).items():
        top: Path = ("agents", "overrides", name) if name in overrides else ("agents",)
        if isinstance(settings.learner, RolloutSettings):
            continue
        for part in ("teacher", "curiosity", "shaping"):
            if getattr(settings, part) is not None:
                text = (
                    f"changes the rewards of rollouts, and learner {settings.learner.kind} takes none; write null, or choose impala or ppo"
                )
                yield Finding((*top, part), text)


@reads("environment", "agents", "network.topology")
def _grids(subject: Subject) -> Iterator[Finding]:
    """Parts of an agent that look at the cells of a grid."""
    configuration = subject.configuration
    if isinstance(subject.graph, UnfitTopology) or subject.environment:
        return
    environment = configuration.environment.id
    for name, settings in agents_of(subject).items():
        top: Path = ("agents", "overrides", name) if name in configuration.agents.overrides else ("agents",)
        sight = subject.facts.sights[name]
        if settings.teacher is not None and not sight.whole:
            text = f"sets goals in the whole grid, which {environment} does not show; write null"
            yield Finding((*top, "teacher"), f"{text}, or environment.options.view: full (or both)" if sight.cells else text)
        if settings.curiosity is not None and settings.curiosity.needs_grid and not sight.cells:
            text = f"{settings.curiosity.kind} counts visits of a grid, and {environment} shows none; write kind: rnd, or null"
            yield Finding((*top, "curiosity"), text)
        if getattr(settings.learner, "network", "auto") == "grid" and not sight.cells:
            yield Finding((*top, "learner", "network"), f"{environment} shows no grid of cells; write auto")
