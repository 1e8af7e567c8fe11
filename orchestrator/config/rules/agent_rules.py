"""Rules of the components of agents, and of the goals and rewards that teachers and curiosity give them."""

from __future__ import annotations

from collections.abc import Iterator

from agent_node.settings.agent import AgentSettings
from orchestrator.config.checks.cross_checks import (
    Finding,
    RuleContext,
    agent_checked,
    components_of,
    components_with_groups,
    findings,
    groups_of,
    kinds_with,
    meant,
    reads,
)
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.yaml_tree import Path
from protocols.topology.settings import UnfitTopology


@reads("agents")
def _overrides(subject: RuleContext) -> Iterator[Finding]:
    configuration = subject.configuration
    names = configuration.agent_names()
    for name in configuration.agents.overrides:
        where: Path = ("agents", "overrides", name)
        if name not in names:
            text = f'"{name}" does not exist (agents.count is {configuration.agents.count})'
            yield Finding(where, text, meant(name, names), key=True)
            continue
        yield from findings(agent_checked(configuration, name), where)


@reads("agents", "exchange.consensus")
def _groups(subject: RuleContext) -> Iterator[Finding]:
    consensus = subject.configuration.exchange.consensus
    if consensus is None:
        return
    agents = {name: settings for name, _, settings in subject.agents}
    for index, group in enumerate(consensus.groups):
        where: Path = ("exchange", "consensus", "groups", index)
        if consensus.groups.index(group) != index:
            yield Finding(where, f"{group} is listed twice")
            continue
        shapes = {name: _architecture(subject.configuration, settings, group) for name, settings in agents.items()}
        lacking = [name for name, shape in shapes.items() if not shape]
        if lacking:
            have = ", ".join(groups_of(subject.configuration, agents[lacking[0]]))
            subjects = "the agents have" if len(lacking) == len(agents) else f"{lacking[0]} has"
            cure = "; set agents.world_model or leave the group out" if group == "world_model" else ""
            yield Finding(where, f"{subjects} no parameters called {group} (but {have}){cure}")
            continue
        first = next(iter(shapes), None)
        for name, shape in shapes.items():
            if first is not None and shape != shapes[first]:
                yield Finding(where, f"{group} of {name} ({shape}) and {first} ({shapes[first]}) differ in shape and cannot be averaged")


@reads("agents", "agents.count", "environment", "network.topology", "exchange.consensus")
def _equal_spaces(subject: RuleContext) -> Iterator[Finding]:
    """Agents with other spaces have networks of other shapes."""
    if subject.configuration.exchange.consensus is None or not subject.playable:
        return
    (first, one), *others = subject.facts.sights.items()
    for name, other in others:
        if other.sizes != one.sizes:
            text = f"networks of {first} ({one.sizes}) and {name} ({other.sizes}) differ in shape and cannot be averaged"
            cure = "write consensus: null, or make the spaces equal by wrappers (supersuit: pad_observations_v0 and pad_action_space_v0)"
            yield Finding(("exchange", "consensus"), f"{text}; {cure}")
            return


def _architecture(configuration: Configuration, settings: AgentSettings, group: str) -> str:
    """The fields that decide the shapes of a group's parameters, as text; "" where no component has the group."""
    for component in components_with_groups(configuration, settings):
        if group in component.groups:
            facts = (f"{key} {getattr(component, key)}" for key in component.architecture)
            return ", ".join([component.kind, *facts, f"history {settings.history}"])
    return ""


@reads("agents", "dataset")
def _buffers(subject: RuleContext) -> Iterator[Finding]:
    """With a dataset the buffer is as large as the agent's shard."""
    if subject.configuration.dataset is not None:
        return
    for _, top, settings in subject.agents:
        if "replay" not in settings.learner.capabilities:
            continue
        size = settings.buffer.transitions
        for key in ("learning_starts", "batch_size"):
            needed = getattr(settings.learner, key, 0)
            if needed > size:
                text = f"{needed} transitions never fit into a buffer of {size} (buffer.transitions), so no update is ever made"
                yield Finding((*top, "learner", key), text)


@reads("environment", "agents", "network.topology")
def _actions(subject: RuleContext) -> Iterator[Finding]:
    for top, settings, sight in subject.observers:
        wanted = "discrete" if sight.discrete_actions else "continuous"
        if wanted not in settings.learner.capabilities:
            text = f"{settings.learner.kind} does not support the {wanted} actions of {subject.configuration.environment.id}"
            yield Finding((*top, "learner", "kind"), f"{text}; choose {kinds_with('learner', wanted)}")


@reads("agents")
def _imagined_rewards(subject: RuleContext) -> Iterator[Finding]:
    for _, top, settings in subject.agents:
        model = settings.world_model
        if model is None or "rewards" in model.capabilities or not model.imagined_ratio or "replay" not in settings.learner.capabilities:
            continue
        if model.imagination is None or model.imagination.reward == "model":
            text = f"{model.kind} predicts no rewards, so that every imagined transition would have reward 0"
            where = (*top, "world_model") if model.imagination is None else (*top, "world_model", "imagination", "reward")
            yield Finding(where, f"{text}; write imagination: {{reward: learned}} (or known), or imagined_ratio: 0")


@reads("agents", "agents.count", "network.topology", "exchange.statistics")
def _statistics(subject: RuleContext) -> Iterator[Finding]:
    """Only additive statistics can be exchanged; some modes restrict the graph or the number of agents."""
    from protocols.statistics.ledger import MOST_ORIGINS

    statistics, graph, where = subject.configuration.exchange.statistics, subject.graph, ("exchange", "statistics")
    if statistics is None:
        return
    for name, _, settings in subject.agents:
        model = settings.world_model
        grid = model is not None and model.imagination is not None and model.imagination.reward == "learned"
        if model is None or not ("additive_statistics" in model.capabilities or grid):
            what = f"the world model of {name}, {model.kind}, has no additive statistics" if model else f"{name} has no world model"
            yield Finding(
                where, f"{what}; write null, or choose agents.world_model.kind {kinds_with('world_model', 'additive_statistics')}"
            )
            break
    for name, _, settings in subject.agents:
        if settings.world_model is not None and (key := settings.world_model.shrinking_statistics):
            text = f"{key} (agents.world_model of {name}) makes sums decrease; exchanged statistics must only grow"
            yield Finding(where, f"{text}; write null for one of them")
            break
    if "directed_graphs" not in statistics.capabilities and not isinstance(graph, UnfitTopology) and graph.directed:
        use = statistics.modes_with("directed_graphs")
        yield Finding((*where, "mode"), f'"{statistics.mode}" needs an undirected graph; use {use}')
    count = subject.configuration.agents.count
    if "entry_of_each_agent" in statistics.capabilities and count > MOST_ORIGINS:
        text = f"a {statistics.mode} holds the statistics of up to {MOST_ORIGINS} agents, not of {count}"
        yield Finding((*where, "mode"), f"{text}; use pushsum")


@reads("agents", "exchange.plans")
def _plans(subject: RuleContext) -> Iterator[Finding]:
    """Plans change the uncertainty of a model, which only optimism uses."""
    if subject.configuration.exchange.plans is None:
        return
    for name, _, settings in subject.agents:
        if settings.world_model is None or "plan_aware" not in settings.world_model.capabilities or settings.optimism is None:
            text = f"plans need a world model with uncertainty ({kinds_with('world_model', 'plan_aware')}) and agents.optimism"
            yield Finding(("exchange", "plans"), f"{text}, which {name} does not have; write null, or set both")
            break


@reads("agents", "clock", "launch.engine")
def _devices(subject: RuleContext) -> Iterator[Finding]:
    """GPUs that do not exist (each agent checks at its start which of them torch can use), and GPUs in runs that must be repeatable."""
    gpu = subject.machine.gpu
    for _, top, settings in subject.agents:
        for part, component in components_of(settings).items():
            device = getattr(component, "device", "cpu")
            where = (*top, part, "device")
            if device == "cuda" and not gpu and subject.configuration.launch.one_machine:
                yield Finding(where, "this machine has no GPU; write auto or cpu")
            elif device != "cpu" and gpu and subject.configuration.clock == "logical":
                text = "the order of additions on a GPU varies, so that two runs with one seed may differ, which clock: logical excludes"
                yield Finding(where, f"{text}; write cpu", None, "warning")


_OF_EPISODES = {"relative_return": "the returns", "next_action": "the following actions"}
"""what capabilities need"""


@reads("agents", "exchange.hindsight", "exchange.experience")
def _whole_episodes(subject: RuleContext) -> Iterator[Finding]:
    """Returns-to-go and following actions are those of the agent's own whole episodes, with the rewards that it was given."""
    exchange, hindsight = subject.configuration.exchange, subject.configuration.exchange.hindsight
    for _, top, settings in subject.agents:
        needed = [text for name, text in _OF_EPISODES.items() if name in settings.learner.capabilities]
        if not needed:
            continue
        text = f"learner {settings.learner.kind} needs {needed[0]} of whole episodes of its own"
        model = settings.world_model
        if model is not None and model.imagined_ratio > 0:
            yield Finding((*top, "world_model", "imagined_ratio"), f"{text}, which imagined transitions have not; write 0")
        if hindsight is not None and hindsight.share > 0:
            where = ("exchange", "hindsight", "share")
            yield Finding(where, f"{text}, which relabelled transitions have not; write 0 (traces are still exchanged), or hindsight: null")
            hindsight = None  # once is enough
        if exchange.experience is not None:
            yield Finding(("exchange", "experience"), f"{text}, and received transitions are parts of episodes; write null")
            break


@reads("agents", "exchange.hindsight")
def _rollouts(subject: RuleContext) -> Iterator[Finding]:
    """Learners without a replay buffer, and recurrent ones, cannot use imagined or relabelled transitions."""
    hindsight = subject.configuration.exchange.hindsight
    for _, top, settings in subject.agents:
        recurrent = "recurrent" in settings.learner.capabilities
        if "replay" in settings.learner.capabilities and not recurrent:
            continue
        kind, model = settings.learner.kind, settings.world_model
        if model is not None and model.imagined_ratio > 0:
            text, cure = f"learner {kind} uses real transitions only, each once", "choose a learner with a replay buffer"
            if recurrent:
                text, cure = f"recurrent learner {kind} uses whole sequences of real transitions only", "recurrent: null"
            yield Finding((*top, "world_model", "imagined_ratio"), f"{text}; write 0, or {cure}")
        if hindsight is not None and hindsight.share > 0:
            text = f"relabelled transitions are off the policy of learner {kind}"
            if recurrent:
                text = f"single transitions are relabelled, and recurrent learner {kind} uses whole sequences"
            yield Finding(("exchange", "hindsight", "share"), f"{text}; write 0 (traces are still exchanged), or hindsight: null")
            hindsight = None  # once is enough


@reads("agents")
def _sequences(subject: RuleContext) -> Iterator[Finding]:
    """What recurrent learners cannot do with sequences of a replay buffer."""
    for _, top, settings in subject.agents:
        learner = settings.learner
        if not {"replay", "recurrent"} <= set(learner.capabilities):
            continue
        if getattr(learner, "n_step", 1) > 1:
            yield Finding((*top, "learner", "n_step"), "recurrent networks learn from each step of a sequence; write 1")
        if getattr(learner, "prioritized_replay", None) is not None:
            text = "single transitions are drawn by their priority, and recurrent networks need sequences; write null"
            yield Finding((*top, "learner", "prioritized_replay"), text)
        length, size = getattr(getattr(learner, "recurrent", None), "sequence", 1), getattr(learner, "batch_size", 1)
        if length > size:
            text = f"a batch of {size} transitions (batch_size) has no sequence of {length} steps; write {size} or less"
            yield Finding((*top, "learner", "recurrent", "sequence"), text)


@reads("environment", "agents", "exchange.experience", "network.topology")
def _experience(subject: RuleContext) -> Iterator[Finding]:
    """Transitions of other agents can be learnt from unchanged only without goals, and by learners with a replay buffer."""
    configuration, where = subject.configuration, ("exchange", "experience")
    if configuration.exchange.experience is None:
        return
    for name, _, settings in subject.agents:
        if "replay" not in settings.learner.capabilities:
            text = f"{settings.learner.kind} of {name} uses its own transitions only, each once"
            yield Finding(where, f"{text}; write null, or choose learner {kinds_with('learner', 'replay')}")
            break
        if "recurrent" in settings.learner.capabilities:
            text = f"recurrent learner {settings.learner.kind} of {name} uses sequences of its own episodes only"
            yield Finding(where, f"{text}; write null, or agents.learner.recurrent: null")
            break
    if subject.playable and subject.facts.has_goals:
        text = f"rewards in {configuration.environment.id} depend on the goal that was pursued; write null"
        yield Finding(where, f"{text} (exchange.hindsight.segments: {{}} shares surprising transitions, and relabels them)")


@reads("agents")
def _optimism(subject: RuleContext) -> Iterator[Finding]:
    """Optimism is stored beside imagined transitions that are kept, and only some learners read it."""
    for _, top, settings in subject.agents:
        if settings.optimism is None:
            continue
        where, model = (*top, "optimism"), settings.world_model
        if "optimism" not in settings.learner.capabilities:
            text = f"learner {settings.learner.kind} does not use it; write null, or choose learner {kinds_with('learner', 'optimism')}"
            yield Finding(where, text)
        elif model is None or model.imagination is None:
            yield Finding(where, "needs a world model whose imagined transitions are kept; write world_model.imagination: {}")
        elif lacking := set(settings.optimism.requires) - set(model.capabilities):
            text = f"{settings.optimism.kind} needs a world model that is {', '.join(sorted(lacking))}, and {model.kind} is not"
            yield Finding(where, f"{text}; choose world model {kinds_with('world_model', *settings.optimism.requires)}")


@reads("agents")
def _rewards(subject: RuleContext) -> Iterator[Finding]:
    """Intrinsic rewards are added to rollouts; replay buffers hold the environment's rewards only."""
    for _, top, settings in subject.agents:
        if "rollout" in settings.learner.capabilities:
            continue
        for part in ("teacher", "curiosity", "shaping"):
            if getattr(settings, part) is not None:
                text = f"changes the rewards of rollouts, which learner {settings.learner.kind} does not use"
                yield Finding((*top, part), f"{text}; write null, or choose {kinds_with('learner', 'rollout')}")


@reads("agents")
def _replay_rewards(subject: RuleContext) -> Iterator[Finding]:
    """Replay rewards change the batches of a replay buffer; some need the steps of all members."""
    for _, top, settings in subject.agents:
        if settings.replay_reward is None:
            continue
        needed = ("replay", *settings.replay_reward.capabilities)
        if not set(needed) <= set(settings.learner.capabilities):
            text = f"{settings.replay_reward.kind} needs a learner with {' and '.join(needed)}, which {settings.learner.kind} is not"
            yield Finding((*top, "replay_reward"), f"{text}; write null, or choose {kinds_with('learner', *needed)}")


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
                text = "needs entities, and agents.entities describes none; describe them, or write auto"
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
            yield Finding((*top, "learner", "network"), f"{environment} shows no images; write auto")
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
