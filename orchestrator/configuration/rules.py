"""The rules between keys, one function each; the decorator names the keys it reads."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase

from agent_node.settings import (
    AgentSettings,
    CoordinationGameSettings,
    GaussianProcessSettings,
    GPSettings,
    LearnerSettings,
    ReplaySettings,
    RolloutSettings,
    WorldModelSettings,
)
from protocols.faults.checking import KINDS_OF_MESSAGES, Run, check
from protocols.faults.schedule import ends_of
from protocols.faults.ticks import untimely
from protocols.launch import ipc_works
from protocols.settings import format_size
from protocols.topology.unfit import UnfitTopology

from .checks import Finding, Rule, Subject, agent_checked, node_requests
from .errors import nearest
from .locations import Path

RULES: list[Rule] = []
"""all of them, in the order of this file"""
_ROUNDS = 16
"""rounds of a changing graph that are looked at"""
_Check = Callable[[Subject], Iterator[Finding]]


def reads(*paths: str) -> Callable[[_Check], _Check]:
    """Make the function one of `RULES`; `paths` are the keys it reads."""

    def add(check: _Check) -> _Check:
        RULES.append(Rule(paths, check))
        return check

    return add


@reads("agents.count", "network.topology")
def _topology(subject: Subject) -> Iterator[Finding]:
    configuration = subject.configuration
    agents, where = configuration.agent_names(), ("network", "topology")
    graph = subject.graph
    if isinstance(graph, UnfitTopology):
        for fault in graph.faults:
            yield Finding((*where, *fault.path), fault.text, _meant(fault.misspelt, agents) if fault.misspelt is not None else None)
        return
    parts = graph.parts()
    if len(parts) > 1:
        text = " | ".join(_some(part) for part in parts)
        yield Finding(where, f"the graph falls into {len(parts)} parts that can never agree: {text}; add edges between them")
        return
    deaf, mute = graph.cut_off()
    for lost, what in ((deaf, "is never told anything that {} knows"), (mute, "can tell {} nothing")):
        if lost:
            yield Finding(where, f"{_some(lost)} {what.format(agents[0])}: its directed edges lead one way only; add edges back")


@reads("agents.count", "network.topology", "exchange.consensus")
def _mixing(subject: Subject) -> Iterator[Finding]:
    consensus, graph = subject.configuration.exchange.consensus, subject.graph
    if consensus is None or isinstance(graph, UnfitTopology):
        return
    mode: str = consensus.mode
    if graph.directed and mode != "pushsum":
        yield Finding(("exchange", "consensus", "mode"), f'"{mode}" needs an undirected graph; use pushsum')


@reads("agents.count", "network.topology", "exchange.consensus")
def _liars(subject: Subject) -> Iterator[Finding]:
    consensus, graph = subject.configuration.exchange.consensus, subject.graph
    if consensus is None or isinstance(graph, UnfitTopology) or graph.directed or subject.configuration.agents.count == 1:
        return
    from protocols.consensus.robust import RULES, least

    if consensus.mode not in RULES:
        return
    needed = least(consensus.mode, consensus.liars)
    degrees = {agent: min(len(graph.senders(agent, round)) for round in range(_ROUNDS)) for agent in subject.configuration.agent_names()}
    agent = min(degrees, key=lambda name: degrees[name])
    if degrees[agent] < needed:
        where = "in some round of this graph" if graph.changes else f"in this {subject.configuration.network.topology.kind}"
        text = f'"{consensus.mode}" with liars: {consensus.liars} needs degree >= {needed}, but {agent} has degree {degrees[agent]} {where}'
        cure = "add edges" if consensus.liars == 0 else "add edges (complete has most), or lower liars"
        yield Finding(("exchange", "consensus", "mode"), f"{text}: it would keep its own model for ever; {cure}")


@reads("exchange.consensus")
def _step(subject: Subject) -> Iterator[Finding]:
    consensus = subject.configuration.exchange.consensus
    if consensus is None or consensus.mode != "choco" or consensus.step is None:
        return
    from protocols.consensus.compressors import largest_step
    from protocols.consensus.modes import create_compressor

    largest = largest_step(create_compressor(consensus.compression))
    if consensus.step > largest:
        text = f"with this compression the models diverge on most graphs above {largest:.2g}; write {largest / 2:.2g} or less, or null"
        yield Finding(("exchange", "consensus", "step"), text, None, "warning")


@reads("agents")
def _overrides(subject: Subject) -> Iterator[Finding]:
    configuration = subject.configuration
    names = configuration.agent_names()
    for name in configuration.agents.overrides:
        where: Path = ("agents", "overrides", name)
        if name not in names:
            text = f'"{name}" does not exist (agents.count is {configuration.agents.count})'
            yield Finding(where, text, _meant(name, names), key=True)
            continue
        checked = agent_checked(configuration, name)
        for problem, path in zip(checked.problems, checked.paths, strict=True):
            unknown = problem.text.startswith("unknown key")
            yield Finding((*where, *path), problem.text, problem.suggestion, key=unknown)


def _agents(subject: Subject) -> dict[str, AgentSettings]:
    """Settings of the agents whose overrides are valid: one common and those that differ."""
    configuration = subject.configuration
    names = configuration.agent_names()
    differing = [name for name in configuration.agents.overrides if name in names]
    common = next((name for name in names if name not in differing), None)
    found = {name: agent_checked(configuration, name) for name in ([common] if common is not None else []) + differing}
    return {name: checked.model for name, checked in found.items() if checked.model is not None and not checked.problems}


@reads("agents", "exchange.consensus")
def _groups(subject: Subject) -> Iterator[Finding]:
    consensus = subject.configuration.exchange.consensus
    if consensus is None:
        return
    agents = _agents(subject)
    for index, group in enumerate(consensus.groups):
        where: Path = ("exchange", "consensus", "groups", index)
        if consensus.groups.index(group) != index:
            yield Finding(where, f"{group} is listed twice")
            continue
        lacking = [name for name, settings in agents.items() if group not in _groups_of(settings)]
        if lacking:
            have = ", ".join(_groups_of(agents[lacking[0]]))
            who = "the agents have" if len(lacking) == len(agents) else f"{lacking[0]} has"
            cure = "; set agents.world_model or leave the group out" if group == "world_model" else ""
            yield Finding(where, f"{who} no parameters called {group} (but {have}){cure}")
            continue
        shapes = {name: _architecture(settings, group) for name, settings in agents.items()}
        first = next(iter(shapes), None)
        for name, shape in shapes.items():
            if first is not None and shape != shapes[first]:
                yield Finding(where, f"{group} of {name} ({shape}) and {first} ({shapes[first]}) differ in shape and cannot be averaged")


def _groups_of(settings: AgentSettings) -> list[str]:
    parts = [settings.learner] + ([settings.world_model] if settings.world_model is not None else [])
    return [group for part in parts for group in part.groups]


def _architecture(settings: AgentSettings, group: str) -> str:
    """What decides the shapes of a group's parameters, as text."""
    part: LearnerSettings | WorldModelSettings = settings.learner
    if settings.world_model is not None and group in settings.world_model.groups:
        part = settings.world_model
    facts = {key: getattr(part, key) for key in ("hidden", "members") if hasattr(part, key)}
    return ", ".join([part.kind, *(f"{key} {value}" for key, value in facts.items()), f"history {settings.history}"])


@reads("agents")
def _buffers(subject: Subject) -> Iterator[Finding]:
    overrides = subject.configuration.agents.overrides
    for name, settings in _agents(subject).items():
        learner, size = settings.learner, settings.buffer.transitions
        top: Path = ("agents", "overrides", name) if name in overrides else ("agents",)
        if isinstance(learner, ReplaySettings):
            for key in ("warmup", "batch_size"):
                if getattr(learner, key) > size:
                    text = (
                        f"{getattr(learner, key)} transitions never fit into a buffer of {size} (buffer.transitions), so nothing is learnt"
                    )
                    yield Finding((*top, "learner", key), text)
        bounds = getattr(learner, "value_range", None)
        if bounds is not None and bounds[0] >= bounds[1]:
            yield Finding((*top, "learner", "value_range"), f"the lower end {bounds[0]:g} is not below the upper end {bounds[1]:g}")


@reads("agents")
def _gaussian_processes(subject: Subject) -> Iterator[Finding]:
    overrides = subject.configuration.agents.overrides
    for name, settings in _agents(subject).items():
        model = settings.world_model
        top: Path = ("agents", "overrides", name) if name in overrides else ("agents",)
        if isinstance(model, GaussianProcessSettings):
            for low, high in model.bounds or []:
                if low >= high:
                    yield Finding((*top, "world_model", "bounds"), f"the least value {low:g} is not below the largest one, {high:g}")
                    break
        if isinstance(model, GPSettings) and model.basis == "fourier" and model.features % 2:
            text = f"random Fourier features come in pairs, and {model.features} is odd; write {model.features + 1}"
            yield Finding((*top, "world_model", "features"), text)


@reads("agents", "agents.count", "network.topology", "exchange.statistics")
def _statistics(subject: Subject) -> Iterator[Finding]:
    """Only sums can be added, and some ways of adding them ask something of the graph, or of the number of agents."""
    statistics, graph, where = subject.configuration.exchange.statistics, subject.graph, ("exchange", "statistics")
    if statistics is None:
        return
    agents = _agents(subject)
    for name, settings in agents.items():
        model = settings.world_model
        grid = model is not None and model.imaginary is not None and model.imaginary.reward == "learned"
        if not isinstance(model, GPSettings) and not grid:
            what = f"has world model {model.kind}" if model is not None else "has no world model"
            text = f"{name} {what}, which is no sum over its data; write null, or choose agents.world_model.kind gp"
            yield Finding(where, text)
            break
    if statistics.mode == "mh" and not isinstance(graph, UnfitTopology) and graph.directed:
        yield Finding((*where, "mode"), '"mh" needs an undirected graph; use ledger or pushsum')
    from protocols.consensus.ledger import MOST_ORIGINS

    if statistics.mode == "ledger" and len(agents) > MOST_ORIGINS:
        yield Finding((*where, "mode"), f"a ledger holds the statistics of up to {MOST_ORIGINS} agents, not of {len(agents)}; use pushsum")


@reads("agents", "exchange.plans")
def _plans(subject: Subject) -> Iterator[Finding]:
    """Plans change what is uncertain, which only optimism takes notice of."""
    if subject.configuration.exchange.plans is None:
        return
    for name, settings in _agents(subject).items():
        if not isinstance(settings.world_model, GPSettings) or settings.optimism is None:
            text = f"{name} has no optimism about a world model gp, which alone takes notice of plans; write null, or give it both"
            yield Finding(("exchange", "plans"), text)
            break


@reads("agents", "exchange.hindsight")
def _rollouts(subject: Subject) -> Iterator[Finding]:
    """Learners that take each transition once have no use for those that nobody made for them."""
    hindsight, overrides = subject.configuration.exchange.hindsight, subject.configuration.agents.overrides
    for name, settings in _agents(subject).items():
        if not isinstance(settings.learner, RolloutSettings):
            continue
        top: Path = ("agents", "overrides", name) if name in overrides else ("agents",)
        kind, model = settings.learner.kind, settings.world_model
        if model is not None and model.imagined_ratio > 0:
            text = (
                f"learner {kind} takes real transitions once, and none that is imagined; write 0, or choose a learner with a replay buffer"
            )
            yield Finding((*top, "world_model", "imagined_ratio"), text)
        if hindsight is not None and hindsight.share > 0:
            text = f"relabelled transitions are off the policy of learner {kind}; write 0 (traces are still exchanged), or hindsight: null"
            yield Finding(("exchange", "hindsight", "share"), text)
            hindsight = None  # once is enough


@reads("agents")
def _optimism(subject: Subject) -> Iterator[Finding]:
    """Optimism is noted beside imagined transitions that are kept, and only some learners look there."""
    overrides = subject.configuration.agents.overrides
    for name, settings in _agents(subject).items():
        if settings.optimism is None:
            continue
        top: Path = ("agents", "overrides", name) if name in overrides else ("agents",)
        if "optimism" not in settings.learner.abilities:
            yield Finding((*top, "optimism"), f"learner {settings.learner.kind} takes no notice of it; write null, or choose learner sac")
        elif settings.world_model is None or settings.world_model.imaginary is None:
            yield Finding((*top, "optimism"), "needs a world model whose imagined transitions are kept; write world_model.imaginary: {}")


@reads("environment", "agents.count", "network.topology")
def _environment(subject: Subject) -> Iterator[Finding]:
    if not isinstance(subject.graph, UnfitTopology):
        yield from subject.environment


@reads("environment", "agents", "exchange", "network.topology")
def _goals(subject: Subject) -> Iterator[Finding]:
    configuration = subject.configuration
    if isinstance(subject.graph, UnfitTopology) or subject.environment:
        return  # an environment that cannot be made cannot be asked for its goals
    goals = subject.goals
    exchange = configuration.exchange
    for name, settings in _agents(subject).items():
        top: Path = ("agents", "overrides", name) if name in configuration.agents.overrides else ("agents",)
        if goals == 0 and settings.goals is not None:
            yield Finding((*top, "goals"), f"{configuration.environment.id} has no goals; write goals: null")
        if goals > 0 and settings.goals is None:
            yield Finding(
                (*top, "goals"),
                f"{configuration.environment.id} has {goals} goals, and nobody chooses them; write goals: {{kind: uniform}}",
            )
        if settings.goals is not None and settings.goals.needs_traces and exchange.hindsight is None:
            text = f"{settings.goals.kind} learns from what the partners tell after an episode, and exchange.hindsight is null"
            yield Finding((*top, "goals", "kind"), f"{text}; write hindsight: {{}}, or another goal source")
    for part in ("negotiation", "hindsight"):
        if getattr(exchange, part) is not None and goals == 0:
            yield Finding(
                ("exchange", part), f"needs an environment with goals, and {configuration.environment.id} has none; write {part}: null"
            )
    if configuration.environment.supervisor is not None:
        if goals == 0:
            yield Finding(("environment", "supervisor"), f"{configuration.environment.id} has no goals to give; write supervisor: null")
        elif exchange.negotiation is not None:
            yield Finding(
                ("environment", "supervisor"),
                "gives the agents their goals, and exchange.negotiation lets them agree on others; write null for one of them",
            )
    game = exchange.negotiation
    if isinstance(game, CoordinationGameSettings) and goals > 0 and game.messages < 1.4 * goals:
        best = -(-14 * goals // 10)
        fewer = f"fewer than the {goals} goals" if game.messages < goals else f"less than 1.4 times the {goals} goals"
        yield Finding(
            ("exchange", "negotiation", "messages"), f"{game.messages} is {fewer}, and learns slowly; write {best} or more", None, "warning"
        )


@reads("agents", "exchange.hindsight")
def _abilities(subject: Subject) -> Iterator[Finding]:
    hindsight = subject.configuration.exchange.hindsight
    if hindsight is None:
        return
    for name, settings in _agents(subject).items():
        lacks = {"probabilities", "surprise"} - set(settings.learner.abilities)
        who = f"{settings.learner.kind} of {name} can't"
        if hindsight.partner == "corrected" and "probabilities" in lacks:
            text = f"corrected needs learners that can say how likely an action is, and {who}; write consistent"
            yield Finding(("exchange", "hindsight", "partner"), text)
        if hindsight.segments is not None and lacks:
            text = f"needs learners that can say how wrong they are and how likely an action is, and {who}; write segments: null"
            yield Finding(("exchange", "hindsight", "segments"), text)


@reads("environment", "exchange.negotiation", "clock", "tick")
def _negotiation(subject: Subject) -> Iterator[Finding]:
    """Keys that nobody reads, and deadlines within which nothing can be agreed on."""
    configuration = subject.configuration
    game, where = configuration.exchange.negotiation, ("exchange", "negotiation")
    if game is None:
        return
    if isinstance(game, CoordinationGameSettings):
        for key in ("batch", "epochs", "parts"):
            if game.update != "forgetting" and getattr(game, key) != CoordinationGameSettings.model_fields[key].default:
                yield Finding((*where, key), f"is read only with update: forgetting, and update is {game.update}", None, "warning")
        if game.update == "forgetting" and game.parts > game.batch:
            text = f"a batch of {game.batch} episodes can't be cut into {game.parts} parts; write {game.batch} or fewer"
            yield Finding((*where, "parts"), text, None, "warning")
    patience, tick = configuration.environment.goal_deadline, configuration.tick
    if configuration.clock == "logical" and game.deadline < 2 * tick:
        text = f"a proposal and its answer take two ticks of {1000 * tick:g}ms, so that nothing is ever agreed on; write that or more"
        yield Finding((*where, "deadline"), text)
    elif game.deadline > patience:
        text = (
            f"is longer than an idle copy waits for goals (environment.goal_deadline, {patience:g}s), which are drawn for its members then"
        )
        yield Finding((*where, "deadline"), f"{text}; write less, or raise goal_deadline", None, "warning")


@reads("agents.count", "exchange.consensus")
def _alone(subject: Subject) -> Iterator[Finding]:
    if subject.configuration.agents.count == 1 and subject.configuration.exchange.consensus is not None:
        yield Finding(("exchange", "consensus"), "there is nobody to average with: agents.count is 1", None, "warning")


@reads("network.bind")
def _bind(subject: Subject) -> Iterator[Finding]:
    bind = subject.configuration.network.bind
    try:
        address = ipaddress.ip_address(bind)
    except ValueError:
        if bind != "localhost":
            yield Finding(("network", "bind"), f'"{bind}" is no address; write 127.0.0.1')
        return
    if not address.is_loopback:
        text = f"{bind} can be reached from outside, and this version does not encrypt: anybody there could send messages; write 127.0.0.1"
        yield Finding(("network", "bind"), text)


@reads("network.transport", "launch.engine")
def _transport(subject: Subject) -> Iterator[Finding]:
    if subject.configuration.network.transport == "ipc" and not ipc_works():
        text = "this machine has no Unix-domain sockets without files (Linux has them); write auto or tcp"
        yield Finding(("network", "transport"), text)


@reads("network")
def _control_port(subject: Subject) -> Iterator[Finding]:
    network = subject.configuration.network
    if network.control_port == 0 or any(True for _ in _bind(subject)):
        return
    where: Path = ("network", "control_port")
    try:
        family = socket.AF_INET6 if ":" in network.bind else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((network.bind, network.control_port))
    except OSError as error:
        if error.errno == errno.EACCES:
            yield Finding(where, f"port {network.control_port} needs administrator's rights; take one above 1023, or 0 for a free one")
        else:
            yield Finding(where, f"port {network.control_port} is taken by another program; take another, or 0 for a free one")


@reads("supervision", "agents.count")
def _supervision(subject: Subject) -> Iterator[Finding]:
    rules, count = subject.configuration.supervision, subject.configuration.agents.count
    if rules.min_agents > count:
        yield Finding(
            ("supervision", "min_agents"), f"{rules.min_agents} is more than there are (agents.count is {count}): the run would end at once"
        )
    if rules.first > rules.max:
        yield Finding(("supervision", "max"), "the longest delay is shorter than the first one (supervision.first)")
    if not rules.heartbeat < rules.suspect < rules.dead:
        yield Finding(("supervision",), "heartbeat < suspect < dead must hold, or living nodes are declared dead")


@reads("agents.count", "launch.resources")
def _resources(subject: Subject) -> Iterator[Finding]:
    nodes, machine = node_requests(subject.configuration), subject.machine
    cores, memory = sum(node.cores for node in nodes), sum(node.memory for node in nodes)
    where: Path = ("launch", "resources")
    if memory > machine.memory:
        text = (
            f"{len(nodes)} nodes ask for {_round(memory)} of memory, this machine has {_round(machine.memory)}; fewer agents, or a smaller "
        )
        yield Finding(where, f"{text}launch.resources.agent.memory")
    for role in ("agent", "env"):
        wanted = getattr(subject.configuration.launch.resources, role).cores
        if wanted > machine.cores:
            yield Finding((*where, role, "cores"), f"{wanted:g} is more than this machine's {machine.cores:g} cores")
    if cores > machine.cores:
        yield Finding(where, f"{len(nodes)} nodes ask for {cores:g} cores and share the {machine.cores:g} of this machine", None, "warning")


@reads("agents.count", "launch.placement")
def _pins(subject: Subject) -> Iterator[Finding]:
    names = ["env-0", *subject.configuration.agent_names()]
    for glob in subject.configuration.launch.placement.pins:
        if not any(fnmatchcase(name, glob) for name in names):
            where: Path = ("launch", "placement", "pins", glob)
            yield Finding(where, f'"{glob}" matches no node: they are env-0 and {_span(names[1:])}', _meant(glob, names), key=True)


@reads("faults", "network.links", "agents.count", "until", "exchange.consensus")
def _faults(subject: Subject) -> Iterator[Finding]:
    configuration = subject.configuration
    agents, until = configuration.agent_names(), configuration.until
    ends = ends_of({"time": until.time, "steps": until.steps, "episodes": until.episodes})
    run = Run(agents, ends, configuration.exchange.consensus is not None)
    for fault in check(configuration.faults, configuration.network.links, run):
        choices = sorted(KINDS_OF_MESSAGES) if "types" in fault.path else run.nodes
        yield Finding(fault.path, fault.text, None if fault.name is None else _meant(fault.name, choices))


@reads("clock", "faults", "network.links")
def _clock(subject: Subject) -> Iterator[Finding]:
    configuration = subject.configuration
    if configuration.clock == "logical":
        for fault in untimely(configuration.faults, configuration.network.links):
            yield Finding(fault.path, fault.text)


@reads("evaluation")
def _evaluation(subject: Subject) -> Iterator[Finding]:
    evaluation = subject.configuration.evaluation
    if evaluation.episodes == 0 and evaluation.final == 0:
        yield Finding(("evaluation",), "no episode is ever evaluated (episodes and final are 0)", None, "warning")


def _meant(name: str, names: Sequence[str]) -> str | None:
    """The nearest name, except for agents that are well spelt but not there: agent-7 is no misspelling of agent-3."""
    return None if re.fullmatch(r"agent-\d+", name) else nearest(name, names)


def _span(agents: Sequence[str]) -> str:
    return f"{agents[0]} ... {agents[-1]}" if len(agents) > 2 else ", ".join(agents)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"


def _round(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else format_size(size)
