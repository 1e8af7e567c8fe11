"""`why`: asks the run server what all processes wait for, and the system about those that do not answer; then finds the causes.

Where the run server does not answer, the report comes from the files of the run and from /proc, if it runs on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.launch.process_control import identify, read_records
from orchestrator.launch.process_states import ProcessState, dumped_stack, process_state
from orchestrator.results import run_directories
from orchestrator.results.run_directories import Run
from orchestrator.run_server.lead.living_run import advice
from orchestrator.run_server.run_client import RunClient, Unreachable
from orchestrator.run_server.waits.wait_causes import NodeFacts, activity
from orchestrator.run_server.waits.wait_chains import WaitChain, wait_chains, wait_text
from protocols.runtime.clock import unix_time
from protocols.runtime.errors import UsageError
from protocols.runtime.node_start import RUN_SERVER
from protocols.runtime.suggestions import hint

_ANSWER = 1.0
"""seconds that the run server has to answer"""
_SAMPLE = 0.1
"""seconds over which the processor time of a process is measured"""
_DUMPS = 8
"""processes at most whose stacks are asked for by signal"""
_STANDS = "TZ"
"""letters of processes that run nothing"""


@dataclass(frozen=True)
class NodeWait:
    """One wait of a process: `since` and `deadline` in seconds since 1970 (None: without a deadline); without peers it is its own work."""

    operation: str
    peers: tuple[str, ...]
    since: float
    deadline: float | None
    text: str


@dataclass(frozen=True)
class WhyReport:
    """What the processes of a run wait for. `chains`: (level, sentence), gravest first; levels are "bad", "warn" and "good". `stacks`: of
    processes that stand still, `function in file:line`, innermost frame first."""

    run: str
    state: str
    nodes: Mapping[str, list[NodeWait]]
    chains: list[tuple[str, str]]
    stacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def why(run: Path | Run, node: str | None = None, dump: bool = True) -> WhyReport:
    """The waits of a run, or of one node and the chains that it is part of. The run server has two seconds to answer. `dump`: processes
    that do not answer are asked by a signal to write their stacks into their logs; without it only reported stacks are shown.

    `UsageError` for a node that the run does not have. `Unreachable` where the run server does not answer and its process can't be found on
    this machine.
    """
    found = run if isinstance(run, Run) else run_directories.read(Path(run))
    if found.over:
        ended = f"{found.name} has ended: {found.state}" + (f", exit {found.exit_code}" if found.exit_code is not None else "")
        if found.state == "LOST":
            ended = f"the run server of {found.name} is gone; {advice(found.directory)}"
        return WhyReport(found.name, found.state, {}, [("bad" if found.state == "LOST" else "good", ended)])
    local = _LocalProcesses(found, dump)
    facts = _ask(found, local)
    nodes = local.facts(facts)
    if node is not None and node not in nodes:
        cure = hint(node, list(nodes), f"it is one of {', '.join(nodes)}")
        raise UsageError(f'{found.name} has no node "{node}"; {cure}')
    chains = wait_chains(nodes, facts.get("faults", ()), float(facts.get("beat", 0.5)))
    if node is not None:
        chains = [chain for chain in chains if node in chain.nodes] or [WaitChain("good", f"{node} does not wait longer than usual")]
        nodes = {node: nodes[node]}
    return WhyReport(
        found.name,
        str(facts.get("phase") or found.state),
        {name: _waits(entry) for name, entry in nodes.items()},
        [(chain.level, chain.text) for chain in chains],
        {name: tuple(entry.stack) for name, entry in nodes.items() if entry.stack},
    )


def _ask(run: Run, local: _LocalProcesses) -> dict[str, Any]:
    """The run server's facts; without its answer those that stand for it."""
    server = local.before.get(RUN_SERVER)
    if server is None or server.state not in _STANDS:
        try:
            with RunClient(run.directory, _ANSWER) as client:
                return client.waits(_ANSWER)
        except Unreachable:
            if server is None:
                raise
    return {"nodes": {RUN_SERVER: {"role": "run", "age": None}}}


class _LocalProcesses:
    """The processes of a run on this machine, by name: their states at two moments."""

    def __init__(self, run: Run, dump: bool) -> None:
        self._directory, self._dump = run.directory, dump
        self._pids = {record.name: record.pid for record in read_records(run.directory) if identify(record.name, record.pid) == record}
        pid = run.record.get("pid")
        if run.alive and isinstance(pid, int):
            self._pids[RUN_SERVER] = pid
        self.before, self._began = self._look(), time.monotonic()

    def _look(self) -> dict[str, ProcessState]:
        return {name: state for name, pid in self._pids.items() if (state := process_state(pid)) is not None}

    def facts(self, facts: Mapping[str, Any]) -> dict[str, NodeFacts]:
        """All processes, those that only the system has too; stacks of silent ones are asked for by signal."""
        time.sleep(max(0.0, self._began + _SAMPLE - time.monotonic()))
        now, elapsed = self._look(), time.monotonic() - self._began
        entries, beat = facts["nodes"], float(facts.get("beat", 0.5))
        found: dict[str, NodeFacts] = {}
        for name in [*entries, *(name for name in now if name not in entries)]:
            # Without the run server's answer only the system's view is left: no process is silent by that.
            entry = entries.get(name) or {"age": 0.0}
            reported = entry.get("process") or {}
            state, cpu = str(reported.get("state", "")), reported.get("cpu")
            if name in now and name in self.before:
                state, cpu = now[name].state, (now[name].cpu - self.before[name].cpu) / elapsed
            found[name] = NodeFacts(name, entry, state, cpu, tuple(entry.get("stack", ())))
        asked = [name for name, node in found.items() if node.silent(beat) and name in now and node.state not in _STANDS][:_DUMPS]
        if asked and self._dump:
            with ThreadPoolExecutor(len(asked)) as pool:
                stacks = dict(zip(asked, pool.map(lambda name: dumped_stack(self._pids[name], self._log(name)), asked), strict=True))
            for name, stack in stacks.items():
                node = found[name]
                found[name] = NodeFacts(name, node.entry, node.state, node.cpu, stack or node.stack)
        return found

    def _log(self, name: str) -> Path:
        if name == RUN_SERVER:
            return self._directory / "server.log"
        host = self._directory / "hosts" / f"{name}.log"
        return host if host.is_file() else self._directory / "nodes" / name / "log.txt"


def _waits(node: NodeFacts) -> list[NodeWait]:
    now, found = unix_time(), []
    for wait in node.entry.get("waits", ()):
        text = f"{activity(wait['operation'])} ({wait['seconds']:.1f} s)" if wait["own"] else wait_text(wait)
        deadline = None if wait["left"] is None else now + wait["left"]
        found.append(NodeWait(wait["operation"], tuple(wait["peers"]), now - wait["seconds"], deadline, text))
    return found
