"""Rules of a run: its processes, faults, clock and metrics, its addresses, what its nodes need, and which hosts exist."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from fnmatch import fnmatchcase

from orchestrator.config.checks.cross_checks import Finding, RuleContext, meant, reads, span
from orchestrator.config.parsing.yaml_tree import Path
from orchestrator.launch.placement import node_requests
from protocols.faults.fault_checks import FaultRuleContext, check, unsupported_under_logical_clock
from protocols.faults.fault_schedule import ends_of
from protocols.runtime.node_start import ipc_works, shared_memory_works
from protocols.runtime.settings_types import format_size
from protocols.wire.message_registry import message_kinds


@reads("network.bind", "network.advertise")
def _bind(subject: RuleContext) -> Iterator[Finding]:
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
        text = f"{bind} is every address of this machine, and other machines need one of them; write network.advertise too"
        yield Finding(("network", "bind"), text)


@reads("network.transport", "launch.engine")
def _transport(subject: RuleContext) -> Iterator[Finding]:
    network, launch = subject.configuration.network, subject.configuration.launch
    where = ("network", "transport")
    if network.transport in ("ipc", "shared") and not launch.one_machine:
        medium = "Unix-domain sockets end" if network.transport == "ipc" else "shared memory ends"
        yield Finding(where, f"{medium} at this machine, and launch.engine is {launch.engine}; write auto or tcp")
    elif network.transport in ("ipc", "shared") and not ipc_works():
        yield Finding(where, "this machine has no Unix-domain sockets without files (Linux has them); write auto or tcp")
    elif network.transport == "shared" and not shared_memory_works():
        yield Finding(where, "this machine has no sealed memory files that processes share (Linux on x86-64 has them); write auto or ipc")


@reads("network", "launch.engine")
def _control_port(subject: RuleContext) -> Iterator[Finding]:
    network = subject.configuration.network
    if network.control_port == 0 or any(True for _ in _bind(subject)):
        return
    if network.bind == "auto" and not subject.configuration.launch.one_machine:
        return  # the engine decides the address
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
        elif error.errno == errno.EADDRNOTAVAIL:
            text = f"no network card of this machine has the address {address}; write auto, or one that it has (`ip address` lists them)"
            yield Finding(("network", "bind"), text)
        else:
            yield Finding(where, f"port {network.control_port} is taken by another program; take another, or 0 for a free one")


@reads("agents.count", "launch.resources", "launch.engine")
def _resources(subject: RuleContext) -> Iterator[Finding]:
    if not subject.configuration.launch.one_machine:
        return  # the machines are known when the engine has them
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
    gpus = sum(node.gpus for node in nodes)
    if gpus > machine.gpus:
        role = "agent" if subject.configuration.launch.resources.agent.gpus else "env"
        text = f"the nodes ask for {gpus} GPU{'s' if gpus > 1 else ''} to themselves, this machine has {machine.gpus or 'none'}"
        yield Finding((*where, role, "gpus"), f"{text}; write 0 (the available ones are shared)")
    if cores > machine.cores:
        yield Finding(where, f"{len(nodes)} nodes ask for {cores:g} cores and share the {machine.cores:g} of this machine", None, "warning")


@reads("launch.engine", "launch.hosts", "launch.ssh")
def _machines(subject: RuleContext) -> Iterator[Finding]:
    launch = subject.configuration.launch
    names = [host.name for host in launch.ssh.hosts]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Finding(("launch", "ssh", "hosts", index, "name"), f'two hosts have the name "{name}"')
    for index, host in enumerate(launch.ssh.hosts):
        if host.ssh.startswith("-") or not host.ssh.strip():
            text = f'"{host.ssh}" is no destination for ssh; write user@host, or a name of ~/.ssh/config'
            yield Finding(("launch", "ssh", "hosts", index, "ssh"), text)
    if launch.lists_hosts and not names:
        text = "the engine ssh needs machines; list them: [{name: box-a, ssh: user@box-a, python: /path/to/python}]"
        yield Finding(("launch", "ssh", "hosts"), text)
    if launch.lists_hosts and launch.hosts not in (1, len(names)):
        text = f"ssh has a list of hosts, of {len(names)}, and this number is not looked at"
        yield Finding(("launch", "hosts"), text, None, "warning")
    if not launch.lists_hosts and names:
        text = f"these hosts are for ssh, and launch.engine is {launch.engine}: they are not looked at"
        yield Finding(("launch", "ssh", "hosts"), text, "ssh", "warning")


@reads("launch.engine", "launch.hosts", "launch.ssh", "launch.placement.pins")
def _places(subject: RuleContext) -> Iterator[Finding]:
    """Pins to missing hosts, where all are known before anything starts."""
    launch = subject.configuration.launch
    names = launch.host_names()
    if names is None:
        return
    labels = {f"{key}={value}" for host in launch.ssh.hosts for key, value in host.labels.items()} if launch.lists_hosts else set()
    for glob, wanted in launch.placement.pins.items():
        parts = [part.strip() for part in wanted.split(",")] if "=" in wanted else [wanted]
        missing = [part for part in parts if part not in (labels if "=" in part else names)]
        for part in missing:
            what = "no host has the label" if "=" in part else "there is no host"
            there = f"they are {span(names)}" if not labels else f"they are {span(names)}, with the labels {', '.join(sorted(labels))}"
            where: Path = ("launch", "placement", "pins", glob)
            yield Finding(where, f"{what} {part}: {there}", meant(part, [*names, *labels]))


@reads("agents.count", "launch.placement")
def _pins(subject: RuleContext) -> Iterator[Finding]:
    names = ["env-0", *subject.configuration.agent_names()]
    for glob in subject.configuration.launch.placement.pins:
        if not any(fnmatchcase(name, glob) for name in names):
            where: Path = ("launch", "placement", "pins", glob)
            yield Finding(where, f'"{glob}" matches no node: they are env-0 and {span(names[1:])}', meant(glob, names), key=True)


def _round(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else format_size(size)


@reads("supervision", "agents.count", "launch.engine")
def _supervision(subject: RuleContext) -> Iterator[Finding]:
    rules, count = subject.configuration.supervision, subject.configuration.agents.count
    if rules.min_agents > count:
        text = f"{rules.min_agents} exceeds the number of agents (agents.count is {count}): the run would end at once"
        yield Finding(("supervision", "min_agents"), text)
    if rules.restart_delay > rules.max_restart_delay:
        yield Finding(("supervision", "max_restart_delay"), "the longest delay is shorter than the first one (supervision.restart_delay)")
    if not rules.heartbeat < rules.suspect < subject.configuration.dead_after:
        yield Finding(("supervision",), "heartbeat < suspect < dead must hold, or living nodes are declared dead")


@reads("faults", "network.links", "agents.count", "until", "exchange.consensus")
def _faults(subject: RuleContext) -> Iterator[Finding]:
    configuration = subject.configuration
    agents, until = configuration.agent_names(), configuration.until
    ends = ends_of({"time": until.time, "steps": until.steps, "episodes": until.episodes})
    run = FaultRuleContext(agents, ends, configuration.exchange.consensus is not None)
    for fault in check(configuration.faults, configuration.network.links, run):
        choices = sorted(message_kinds()) if "types" in fault.path else run.nodes
        yield Finding(fault.path, fault.text, None if fault.name is None else meant(fault.name, choices))


@reads("metrics.sinks")
def _sinks(subject: RuleContext) -> Iterator[Finding]:
    kinds = [sink.kind for sink in subject.configuration.metrics.sinks]
    for index, sink in enumerate(subject.configuration.metrics.sinks):
        if missing := sink.missing():
            text = f"{sink.kind} needs the package {' and '.join(missing)}, which is not installed: pip install '{sink.install}'"
            yield Finding(("metrics", "sinks", index), text)
        if sink.kind in kinds[:index]:
            yield Finding(("metrics", "sinks", index), f"{sink.kind} is listed twice")


@reads("clock", "faults", "network.links")
def _clock(subject: RuleContext) -> Iterator[Finding]:
    configuration = subject.configuration
    if configuration.clock == "logical":
        for fault in unsupported_under_logical_clock(configuration.faults, configuration.network.links):
            yield Finding(fault.path, fault.text)


@reads("evaluation")
def _evaluation(subject: RuleContext) -> Iterator[Finding]:
    evaluation = subject.configuration.evaluation
    if evaluation.episodes == 0 and evaluation.final_episodes == 0:
        yield Finding(("evaluation",), "no episode is ever evaluated (episodes and final are 0)", None, "warning")
