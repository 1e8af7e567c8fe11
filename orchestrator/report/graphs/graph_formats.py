"""The communication graph of a configuration: as text with the facts of what would be started, as SVG and JSON, and for other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from textwrap import wrap

from orchestrator.config.checks.cross_checks import agent_settings
from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.configuration import Configuration
from orchestrator.launch.placement import node_requests
from orchestrator.report.graphs.graph_svg import picture
from orchestrator.report.graphs.graph_text import text_picture
from orchestrator.results.number_text import counted
from protocols.runtime.settings_types import Period, format_duration, format_size
from protocols.topology import build
from protocols.topology.communication_graph import Graph, make_graph
from protocols.topology.mixing_rates import rates


def _graph(configuration: Configuration) -> Graph:
    return make_graph(configuration.network.topology, configuration.agent_names(), configuration.seed)


def to_json(configuration: Configuration) -> str:
    """`{"name", "kind", "directed", "period", "nodes", "edges", "connected", "spectral_gap", "placement"}`; `edges` are those of all
    rounds, the placement is each node's role and needs."""
    graph = _graph(configuration)
    forth, back = graph.cut_off()
    content = {
        "name": configuration.name,
        "kind": configuration.network.topology.kind,
        "directed": graph.directed,
        "period": graph.period,
        "nodes": list(graph.agents),
        "edges": [list(edge) for edge in graph.union_edges],
        "connected": not forth and not back,
        "spectral_gap": rates(graph).gap,
        "placement": [
            {"node": node.name, "role": node.role, "engine": configuration.launch.engine, "cores": node.cores, "memory": node.memory}
            for node in node_requests(configuration)
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def to_dot(configuration: Configuration) -> str:
    """The communication graph in the DOT language of Graphviz."""
    graph = _graph(configuration)
    kind, mark = ("digraph", "->") if graph.directed else ("graph", "--")
    lines = [f'{kind} "{configuration.name}" {{', "  node [shape=box];"]
    lines += [f'  "{node}";' for node in graph.agents]
    lines += [f'  "{a}" {mark} "{b}";' for a, b in graph.union_edges]
    return "\n".join([*lines, "}"]) + "\n"


def to_mermaid(configuration: Configuration) -> str:
    """The communication graph as a Mermaid diagram, which some Markdown viewers draw."""
    graph = _graph(configuration)
    ids = {node: f"n{index}" for index, node in enumerate(graph.agents)}
    mark = "-->" if graph.directed else "---"
    lines = ["graph LR"] + [f'  {ids[node]}["{node}"]' for node in graph.agents]
    return "\n".join([*lines, *(f"  {ids[a]} {mark} {ids[b]}" for a, b in graph.union_edges)]) + "\n"


def to_svg(configuration: Configuration) -> str:
    """A drawing that stands alone, as `orchestrate topology -o` writes it."""
    graph, topology = _graph(configuration), configuration.network.topology
    title = f"{configuration.name}: {topology.kind} of {len(graph.agents)}, spectral gap {rates(graph).gap:.3f}"
    return picture(graph, topology, title).svg


def dry_run_text(configuration: Configuration, width: int = 140) -> str:
    """What `up --dry-run` shows: the picture of the graph, and beside it (below it where `width` is too small) what would be started."""
    drawn = text_picture(build(configuration.network.topology, configuration.agent_names(), configuration.seed))
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
    lines, margin = [], " " * (label + 2)
    for name, text in facts:
        head = f"{name:<{label}}  "
        lines += wrap(text, label + 2 + room, initial_indent=head, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False)
    return lines


def _facts(configuration: Configuration) -> list[tuple[str, str]]:
    graph = _graph(configuration)
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
    if local:
        placement = f"local: {counted(len(nodes), 'node')} on this host, {counted(int(machine.cores), 'core')} -> "
        placement += f"{counted(threads, 'thread')} a node"
    else:
        hosts = counted(configuration.launch.host_count, "host")
        placement = f"{configuration.launch.engine}: {counted(len(nodes), 'node')} on {hosts}"
    return [
        (
            "topology",
            f"{configuration.network.topology.kind}, {'directed' if graph.directed else 'undirected'}{changing}, "
            f"{counted(len(graph.agents), 'node')}, {counted(len(graph.union.pairs), 'edge')}, {connected}, "
            f"spectral gap {rates(graph).gap:.3f}",
        ),
        ("placement", placement),
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
    return f"{end}; then {counted(final_episodes, 'episode')} of evaluation" if final_episodes else end
