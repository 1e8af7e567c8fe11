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
        yield Finding(where, f"rewards in {configuration.environment.id} depend on the goal that was pursued; write null")


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


@reads("agents")
def _imitation(subject: RuleContext) -> Iterator[Finding]:
    """What is imitated are pairs of observation and action, without goals."""
    for _, top, settings in subject.agents:
        if settings.imitation is None:
            continue
        where = (*top, "imitation")
        if "imitation" not in settings.learner.capabilities:
            text = f"{settings.imitation.kind} trains the policy of a learner with imitation, which {settings.learner.kind} is not"
            yield Finding(where, f"{text}; write null, or choose {kinds_with('learner', 'imitation')}")
        elif settings.teacher is not None:
            yield Finding(where, "own actions are imitated without their goals, and agents.teacher sets goals; write null for one of them")
