"""Rules of a run: addresses, processes, machines, faults, the clock, evaluation."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from fnmatch import fnmatchcase

from protocols.faults.checking import KINDS_OF_MESSAGES, Run, check
from protocols.faults.schedule import ends_of
from protocols.faults.ticks import untimely
from protocols.launch import ipc_works
from protocols.settings import format_size

from ..checks import Finding, Subject, node_requests
from ..locations import Path
from .reading import Rules, meant, span

RULES = Rules()
reads = RULES.reads


@reads("agents.count", "exchange.consensus")
def _alone(subject: Subject) -> Iterator[Finding]:
    if subject.configuration.agents.count == 1 and subject.configuration.exchange.consensus is not None:
        yield Finding(("exchange", "consensus"), "there is nobody to average with: agents.count is 1", None, "warning")


@reads("network.bind", "network.advertise")
def _bind(subject: Subject) -> Iterator[Finding]:
    bind, advertise = subject.configuration.network.bind, subject.configuration.network.advertise
    if bind == "auto":
        return
    try:
        address = ipaddress.ip_address(bind)
    except ValueError:
        if bind != "localhost":
            yield Finding(("network", "bind"), f'"{bind}" is no address; write auto, or the address of a network card of this machine')
        return
    if address.is_unspecified and not advertise:
        text = f"{bind} means every address of this machine, and others must be told one; write network.advertise too"
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
    address = "127.0.0.1" if network.bind == "auto" else network.bind
    where: Path = ("network", "control_port")
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, network.control_port))
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
            yield Finding(where, f'"{glob}" matches no node: they are env-0 and {span(names[1:])}', meant(glob, names), key=True)


@reads("faults", "network.links", "agents.count", "until", "exchange.consensus")
def _faults(subject: Subject) -> Iterator[Finding]:
    configuration = subject.configuration
    agents, until = configuration.agent_names(), configuration.until
    ends = ends_of({"time": until.time, "steps": until.steps, "episodes": until.episodes})
    run = Run(agents, ends, configuration.exchange.consensus is not None)
    for fault in check(configuration.faults, configuration.network.links, run):
        choices = sorted(KINDS_OF_MESSAGES) if "types" in fault.path else run.nodes
        yield Finding(fault.path, fault.text, None if fault.name is None else meant(fault.name, choices))


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


def _round(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else format_size(size)
