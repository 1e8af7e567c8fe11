"""What `up --dry-run` shows: the picture of the communication graph, and the facts of what would be started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.config.checks.cross_checks import agent_settings
from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.configuration import Configuration
from orchestrator.launch.placement import node_requests
from orchestrator.report.graphs.graph_text import text_picture
from protocols.runtime.settings_types import Period, format_duration, format_size
from protocols.topology import build
from protocols.topology.communication_graph import Graph, make_graph
from protocols.topology.mixing_rates import rates

if TYPE_CHECKING:
    import networkx as nx


def topology_graph(configuration: Configuration) -> nx.Graph:
    """Who is joined to whom in any round and either direction."""
    return build(configuration.network.topology, configuration.agent_names(), configuration.seed)


def communication(configuration: Configuration) -> Graph:
    """The communication graph, with its directions and rounds."""
    return make_graph(configuration.network.topology, configuration.agent_names(), configuration.seed)


def dry_run_text(configuration: Configuration, width: int = 140) -> str:
    """What `up --dry-run` shows: the picture of the graph, and beside it (below it where `width` is too small) what would be started."""
    drawn = text_picture(topology_graph(configuration))
    facts = _facts(configuration)
    label = max(len(name) for name, _ in facts)
    left = max(len(line) for line in drawn)
    indent = 4
    beside = indent + left + 6
    room = width - beside - label - 2
    if room >= 50:
        right = _fact_lines(facts, label, room)
        rows = max(len(drawn), len(right))
        drawn, right = drawn + [""] * (rows - len(drawn)), right + [""] * (rows - len(right))
        lines = [f"{' ' * indent}{a:<{left}}      {b}".rstrip() for a, b in zip(drawn, right, strict=True)]
    else:
        lines = [f"{' ' * indent}{line}"[:width].rstrip() for line in drawn]
        lines += ["", *_fact_lines(facts, label, max(24, width - label - 2))]
    return "\n".join(lines)


def _fact_lines(facts: Sequence[tuple[str, str]], label: int, room: int) -> list[str]:
    lines = []
    for name, text in facts:
        head = f"{name:<{label}}  "
        for line in _folded(text, room):
            lines.append(head + line)
            head = " " * (label + 2)
    return lines


def _folded(text: str, room: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def _facts(configuration: Configuration) -> list[tuple[str, str]]:
    graph = communication(configuration)
    nodes = node_requests(configuration)
    machine = MachineResources.here()
    asked = configuration.launch.threads
    threads = asked if isinstance(asked, int) else max(1, int(machine.cores) // len(nodes))
    forth, back = graph.cut_off()
    connected = "not connected" if forth or back else "connected"
    changing = ", another one every round" if graph.changes else ""
    agent, env = configuration.launch.resources.agent.memory, configuration.launch.resources.env.memory
    total = sum(node.memory for node in nodes)
    environment = configuration.environment
    local = configuration.launch.one_machine
    return [
        (
            "topology",
            f"{configuration.network.topology.kind}, {'directed' if graph.directed else 'undirected'}{changing}, "
            f"{_count(len(graph.agents), 'node')}, {_count(len(graph.union.pairs), 'edge')}, {connected}, "
            f"spectral gap {rates(graph).gap:.3f}",
        ),
        (
            "placement",
            f"local: {_count(len(nodes), 'node')} on this host, {_count(int(machine.cores), 'core')} -> {_count(threads, 'thread')} a node"
            if local
            else f"{configuration.launch.engine}: {_count(len(nodes), 'node')} on {_count(configuration.launch.host_count, 'host')}",
        ),
        ("environment", f"{environment.id} x{environment.copies}, a step waits {format_duration(environment.deadline)} for an action"),
        ("agents", _agents(configuration)),
        ("exchange", _exchange(configuration)),
        ("faults", "none"),
        (
            "memory",
            f"up to {total / 2**30:.1f} GiB ({configuration.agents.count} x {format_size(agent)} + {format_size(env)})"
            + (f", this machine has {machine.memory / 2**30:.1f} GiB" if local else ""),
        ),
        ("until", _until(configuration)),
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _agents(configuration: Configuration) -> str:
    parts: dict[str, list[str]] = {}
    for name in configuration.agent_names():
        settings = agent_settings(configuration, name)
        model = settings.world_model
        members = f"({model.members})" if model is not None and hasattr(model, "members") else ""
        text = settings.learner.kind + (f" + {model.kind}{members}" if model is not None else "")
        parts.setdefault(text, []).append(name)
    if len(parts) == 1:
        return next(iter(parts))
    return " · ".join(f"{text}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}" for text, names in parts.items())


def _exchange(configuration: Configuration) -> str:
    exchange = configuration.exchange
    parts = []
    if exchange.negotiation is not None:
        parts.append("goals every episode")
    if exchange.hindsight is not None:
        parts.append("traces every episode")
    if exchange.consensus is not None:
        parts.append(f"averaging every {_period(exchange.consensus.every)} ({', '.join(exchange.consensus.groups)})")
    return " · ".join(parts) or "nothing: independent agents"


def _period(every: Period) -> str:
    if every.time is not None:
        return format_duration(every.time)
    return next(f"{count} {unit}" for unit in ("episodes", "updates", "steps") if (count := getattr(every, unit)) is not None)


def _until(configuration: Configuration) -> str:
    until = configuration.until
    parts = [f"{count} {unit}" for unit in ("episodes", "steps") if (count := getattr(until, unit)) is not None]
    if until.time is not None:
        parts.append(format_duration(until.time))
    end = " or ".join(parts) + (", whichever comes first" if len(parts) > 1 else "")
    final_episodes = configuration.evaluation.final_episodes
    return f"{end}; then {_count(final_episodes, 'episode')} of evaluation" if final_episodes else end
