"""Rules of the graph, and of averaging on it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from orchestrator.config.checks.cross_checks import Finding, RuleContext, meant, reads, some
from protocols.averaging.rule_settings import rules_with
from protocols.faults.fault_schedule import PartitionCut, cut_of
from protocols.topology.settings import UnfitTopology

_ROUNDS = 16
"""rounds of a changing graph that are checked"""


@reads("agents.count", "network.topology")
def _topology(subject: RuleContext) -> Iterator[Finding]:
    configuration = subject.configuration
    agents, where = configuration.agent_names(), ("network", "topology")
    graph = subject.graph
    if isinstance(graph, UnfitTopology):
        for fault in graph.faults:
            yield Finding((*where, *fault.path), fault.text, meant(fault.misspelt, agents) if fault.misspelt is not None else None)
        return
    parts = graph.parts()
    if len(parts) > 1:
        text = " | ".join(some(part) for part in parts)
        yield Finding(where, f"the graph is not connected, so that its {len(parts)} parts can never agree: {text}; add edges between them")
        return
    unreached, unheard = graph.cut_off()
    for lost, what in ((unreached, "receives nothing from {}"), (unheard, "cannot send to {}")):
        if lost:
            yield Finding(where, f"{some(lost)} {what.format(agents[0])}, directly or through others; add edges back")


@reads("agents.count", "network.topology", "faults")
def _sides(subject: RuleContext) -> Iterator[Finding]:
    """Sides are drawn from all agents, not along the graph's edges: a partition of a ring in halves usually leaves more than two parts."""
    configuration, graph = subject.configuration, subject.graph
    if configuration.faults is None or isinstance(graph, UnfitTopology):
        return
    agents = configuration.agent_names()
    for index, event in enumerate(configuration.faults.events):
        if event.partition is None or event.partition.groups is not None:
            continue
        sides = cut_of(event, configuration.faults.seed, agents)
        if sides is None or sides.reach is not None or "peer" not in sides.channels:
            continue
        parts = graph.parts(partial(_parted, sides))
        if len(parts) > len(set(sides.group.values())):
            left = " | ".join(some(part) for part in parts)
            text = f"the sides are {sides.text()}, which leaves {left} of this {configuration.network.topology.kind}"
            where = ("faults", "events", index, "partition", "shape")
            yield Finding(where, f"{text}; to cut between neighbours name the sides in groups", None, "warning")


def _parted(sides: PartitionCut, one: str, other: str) -> bool:
    return sides.severs(one, other, "peer") or sides.severs(other, one, "peer")


@reads("agents.count", "network.topology", "exchange.consensus")
def _mixing(subject: RuleContext) -> Iterator[Finding]:
    consensus, graph = subject.configuration.exchange.consensus, subject.graph
    if consensus is None or isinstance(graph, UnfitTopology):
        return
    if graph.directed and "directed" not in consensus.rule.capabilities:
        rules = " or ".join(rules_with("directed"))
        yield Finding(("exchange", "consensus", "mode"), f'"{consensus.mode}" needs an undirected graph; use {rules}')


@reads("agents.count", "network.topology", "exchange.consensus")
def _least_degree(subject: RuleContext) -> Iterator[Finding]:
    consensus, graph = subject.configuration.exchange.consensus, subject.graph
    if consensus is None or isinstance(graph, UnfitTopology) or graph.directed or subject.configuration.agents.count == 1:
        return
    if "robust" not in consensus.rule.capabilities:
        return
    needed = consensus.rule.min_neighbours
    degrees = {agent: min(len(graph.senders(agent, round)) for round in range(_ROUNDS)) for agent in subject.configuration.agent_names()}
    agent = min(degrees, key=lambda name: degrees[name])
    if degrees[agent] < needed:
        where = "in some round of this graph" if graph.changes else f"in this {subject.configuration.network.topology.kind}"
        needs = f'"{consensus.mode}" with num_byzantine: {consensus.num_byzantine} needs degree >= {needed}'
        text = f"{needs}, but {agent} has degree {degrees[agent]} {where}"
        cure = "add edges" if consensus.num_byzantine == 0 else "add edges (complete has most), or lower num_byzantine"
        yield Finding(("exchange", "consensus", "mode"), f"{text}: it would never change its model; {cure}")


@reads("exchange.consensus")
def _step(subject: RuleContext) -> Iterator[Finding]:
    consensus = subject.configuration.exchange.consensus
    if consensus is None or consensus.step_size is None or "needs_step_size" not in consensus.rule.capabilities:
        return
    from protocols.averaging.averaging_rules import create_compressor
    from protocols.averaging.compressors import largest_step

    largest = largest_step(create_compressor(consensus.compression))
    if consensus.step_size > largest:
        text = f"with this compression the models diverge on most graphs above {largest:.2g}; write {largest / 2:.2g} or less, or null"
        yield Finding(("exchange", "consensus", "step_size"), text, None, "warning")
