"""Rules of components that depend on what agents observe (grids, entities, images), and on how many agents share a copy."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.config.checks.cross_checks import Finding, RuleContext, kinds_with, reads

_ENTITIES = "[{name: own, size: 4}, {name: others, count: 2, size: 3}]"


@reads("environment", "agents", "network.topology")
def _grids(subject: RuleContext) -> Iterator[Finding]:
    """Components that need the cells of a grid."""
    environment = subject.configuration.environment.id
    for top, settings, sight in subject.observers:
        if settings.teacher is not None and "whole_grid" in settings.teacher.capabilities and not sight.whole:
            text = f"sets goals in the whole grid, which {environment} does not show; write null"
            yield Finding((*top, "teacher"), f"{text}, or environment.options.view: full (or both)" if sight.cells else text)
        if settings.curiosity is not None and "grid" in settings.curiosity.capabilities and not sight.cells:
            text = f"{settings.curiosity.kind} counts visits of a grid, and {environment} shows none; write kind: rnd, or null"
            yield Finding((*top, "curiosity"), text)
        if settings.learner.needs_grid and not sight.cells:
            yield Finding((*top, "learner", "network"), f"{environment} shows no grid of cells; write auto")


@reads("environment", "agents", "network.topology")
def _entities(subject: RuleContext) -> Iterator[Finding]:
    """Descriptions of entities fit what is observed, and networks over entities have them described."""
    for top, settings, sight in subject.observers:
        if settings.entities is None:
            if settings.learner.needs_entities:
                text = "needs entities, and agents.entities describes none; describe them"
                text = f"{text} (docs/explanation/networks.md#entities), for example {_ENTITIES}, or write auto"
                yield Finding((*top, "learner", "network"), text)
            continue
        if not hasattr(settings.learner, "network"):
            text = f"learner {settings.learner.kind} has no network over entities; write null, or learner: ppo"
            yield Finding((*top, "entities"), text)
        try:
            settings.entity_components(sight.size)
        except ValueError as error:
            yield Finding((*top, "entities"), str(error))
        for key, none in (("history", 1), ("frequencies", 0)):
            if getattr(settings, key) != none:
                yield Finding((*top, key), f"components that it adds belong to no entity (agents.entities); write {none}")


@reads("environment", "agents", "network.topology", "launch")
def _images(subject: RuleContext) -> Iterator[Finding]:
    """Networks for images, and the memory that images take."""
    environment, agents, filled = subject.configuration.environment.id, subject.configuration.agents, 0
    for top, settings, sight in subject.observers:
        least = settings.learner.least_image_side
        if least and sight.image is None:
            boxes = [space for space, _ in subject.facts.flattened if space.startswith("Box(")]
            text = f"; images have dtype uint8, and it shows {boxes[0]}; return values from 0 to 255 as uint8, or" if boxes else ";"
            yield Finding((*top, "learner", "network"), f"{environment} shows no images{text} write auto")
        if sight.image is None:
            continue
        height, width, channels = sight.image
        if least > min(height, width):
            text = f"cnn needs images of at least {least} x {least} pixels, and {environment} shows {height} x {width}"
            yield Finding((*top, "learner", "network"), f"{text}; write impala_cnn, or auto")
        if settings.history > 1:
            text = "differences between images are not computed"
            yield Finding((*top, "history"), f"{text}; write 1, and environment.images.frame_stack: {settings.history}")
        if "replay" in settings.learner.capabilities or settings.world_model is not None:
            alike = agents.count - len(agents.overrides) if top == ("agents",) else 1
            filled += alike * settings.buffer.transitions * height * width * channels
    if filled > subject.machine.memory and subject.configuration.launch.one_machine:
        text = f"replay buffers of images fill up to {filled / 2**30:.0f} GiB, one byte for each value, and this machine has"
        text = f"{text} {subject.machine.memory / 2**30:.0f} GiB; write fewer, or smaller environment.images.size"
        yield Finding(("agents", "buffer", "transitions"), text, severity="warning")


@reads("environment", "agents", "network.topology")
def _restarting_teachers(subject: RuleContext) -> Iterator[Finding]:
    """Teachers that end episodes need copies that one agent plays alone."""
    environment = subject.configuration.environment
    if not subject.playable or subject.facts.single_player:
        return
    for _, top, settings in subject.agents:
        if settings.teacher is not None and settings.teacher.ends_episodes:
            text = f"an agent may end only episodes that it plays alone, and {environment.id} has none of those; write false"
            more = ", or environment.options.players: one" if "players" in _option_names(subject) else ""
            yield Finding((*top, "teacher", "restart_episode"), text + more)


def _option_names(subject: RuleContext) -> list[str]:
    from env_server.environments.registry import options_class

    options = options_class(subject.configuration.environment.id)
    return list(options.by_key()) if options is not None else []


@reads("environment", "agents", "exchange.negotiation", "network.topology")
def _negotiating_teachers(subject: RuleContext) -> Iterator[Finding]:
    """Goals that teachers propose are exchanged between agents of one copy, by the value that their policies expect."""
    configuration = subject.configuration
    negotiation, where = configuration.exchange.negotiation, ("exchange", "negotiation")
    if negotiation is None or "teacher_goals" not in negotiation.capabilities:
        return
    for name, top, settings in subject.agents:
        learner, kind = settings.learner, negotiation.kind
        if settings.teacher is None or "swappable_goals" not in settings.teacher.capabilities:
            text = f"{kind} exchanges goals that teachers propose, and {name} has no teacher that allows it"
            yield Finding(where, f"{text}; write null, or agents.teacher: {{kind: {kinds_with('teacher', 'swappable_goals')}}}")
        if "recurrent" in learner.capabilities:
            text = f"{kind} compares the values of goals, which must not depend on a recurrent state; write null"
            yield Finding((*top, "learner", "recurrent"), text)
        elif "values" not in learner.capabilities:
            text = f"{kind} compares the values of goals, which {learner.kind} does not estimate"
            yield Finding((*top, "learner", "kind"), f"{text}; choose {kinds_with('learner', 'values')}")
    environment = configuration.environment
    if subject.playable and subject.facts.single_player:
        text = f"no agent could pursue another agent's goal: every copy of {environment.id} belongs to one agent"
        cure = "write environment.options.players: all, or null" if "players" in _option_names(subject) else "write null"
        yield Finding(where, f"{text}; {cure}")
