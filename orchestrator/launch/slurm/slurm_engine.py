"""The engine for Slurm: each host is a job step of one task on a node of the allocation.

    run server --srun (child process; invitation on its standard input)--> step: host program
               <--number of the step, public key (standard output)-- ; all other output goes to its log

The job is the one that `orchestrate up` was called in, or one of its own (`job`, `script`). Slurm is asked nothing while all
goes well: `srun` ends when its host does, and when Slurm gives up its node.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.config.configuration import Configuration
from orchestrator.launch.addresses import address_towards
from orchestrator.launch.engine import Engine, HostHandle, HostPhase, HostState, Invitation
from orchestrator.launch.engine_commands import BackgroundCommand, Channel
from orchestrator.launch.placement import Slot
from orchestrator.launch.process_control import HOST_MODULE, MARK
from orchestrator.launch.slurm.slurm_allocation import Allocation, give_back
from orchestrator.launch.slurm.slurm_commands import ask, clean_environment, missing, no_controller, query, words
from protocols.runtime.errors import ResourceError
from protocols.runtime.node_start import is_loopback

_ASK_AGAIN = 2.0
_LONGEST_TAIL = 8192
_SIGNALLED = 128
"""srun's exit code for a task that a signal has ended, less the signal's number"""
_NODE_FAILED = re.compile(r"Node failure on (\S+)")


@dataclass
class SlurmHost(HostHandle):
    """A host and the srun process that runs it."""

    srun: Channel
    node: str
    log: Path
    begins: int
    """size of the log before it"""
    errands: list[BackgroundCommand] = field(default_factory=list)
    question: BackgroundCommand | None = None
    """to Slurm, about its node or its step"""
    ask_again: float = 0.0
    killed: bool = False
    """by us"""


class SlurmEngine(Engine[SlurmHost]):
    """Starts hosts on the nodes of an allocation of Slurm."""

    name = "slurm"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._allocation = Allocation(self.directory)

    def problems(self, configuration: Configuration) -> list[str]:
        """Commands that are not there, a slurmctld that does not answer."""
        if absent := missing():
            return [
                f"launch.engine is slurm, and {', '.join(absent)} can't be found on {socket.gethostname()}: start the run on a machine of "
                "the cluster from which jobs are submitted, or put Slurm's commands on the PATH (Debian: apt-get install slurm-client)"
            ]
        if why := no_controller():
            return [f"launch.engine is slurm, and slurmctld can't be reached: {why}; try `scontrol ping`, and see SLURM_CONF"]
        return []

    def address(self, configuration: Configuration) -> str:
        """The one by which this machine reaches another node of the allocation (or, before there is one, of the partition)."""
        nodes, partition = os.environ.get("SLURM_JOB_NODELIST", ""), configuration.launch.slurm.partition
        where = [f"--nodes={nodes}"] if nodes else [f"--partition={partition}"] if partition else []
        answer = ask(["sinfo", "--noheader", "--Node", "--format=%N %o", *where])
        known = dict(line.split(None, 1) for line in answer.output.splitlines() if len(line.split(None, 1)) == 2)
        if not known:
            raise ResourceError(f"Slurm names no nodes ({words(answer)}): set network.bind to this machine's address in the cluster")
        own = os.environ.get("SLURMD_NODENAME", socket.gethostname().partition(".")[0])
        # A node's own name may mean 127.0.0.1 on itself, so others are asked first.
        for node in sorted(known, key=lambda name: name == own):
            with contextlib.suppress(ResourceError):
                found = address_towards(known[node].strip())
                if not is_loopback(found) or len(known) == 1:
                    return found
        raise ResourceError(f"no way leads to {', '.join(sorted(known)[:3])}: set network.bind to this machine's address in the cluster")

    def request(self, configuration: Configuration, nodes: int) -> None:
        """Use the allocation around this process, or submit a job."""
        self._allocation.request(configuration)

    def granted(self) -> Sequence[Slot] | None:
        """One slot for each node of the job, of that name."""
        slots = self._allocation.slots()
        self.waiting = self._allocation.waiting
        return slots

    def start_host(self, slot: Slot, invitation: Invitation, log: Path) -> SlurmHost:
        """Start a step on that node, with all that the job has there."""
        note, share = self._allocation.note, self._allocation.shares[slot.name]
        begins = log.stat().st_size if log.exists() else 0
        command = ["srun", f"--jobid={note.job if note else ''}", f"--job-name={note.name if note else ''}", f"--nodelist={share.node}"]
        command += ["--overlap", "--exact", "--nodes=1", "--ntasks=1", f"--cpus-per-task={share.cpus}", "--mem=0", "--cpu-bind=none"]
        command += ["--mpi=none", *([f"--gres={share.gres}"] if share.gres else [])]
        # The shell prints its step, by which the host can be sent a signal; then it is the host.
        command += ["sh", "-c", f'echo "{{\\"step\\": $SLURM_STEP_ID}}"; exec "$0" -m {HOST_MODULE}', sys.executable]
        srun = Channel(command, invitation, log, clean_environment({MARK: invitation.directory}))
        host = SlurmHost(invitation.host, slot, srun, share.node, log, begins)
        self.hosts.append(host)
        return host

    def poll(self, host: SlurmHost) -> HostState:
        """From srun: it ends with its host's exit code, and with 0 when Slurm gives up the node."""
        host.errands = [errand for errand in host.errands if errand.answer() is None]
        key, code = host.srun.key(), host.srun.process.poll()
        if code is None:
            return HostState(HostPhase.RUNNING, key=key)
        if code < 0 and not host.killed and _step(host.srun):
            return self._without_srun(host, key)
        tail = self._tail(host)
        if failed := _NODE_FAILED.search(tail):
            return self._node_failed(host, key, failed[0])
        if code == 1:  # srun's own failures, and Python's; no host ends with it
            last = tail.strip().splitlines()[-1:] or ["no output"]
            return HostState(HostPhase.ENDED, None, key, f"ended with exit code 1: {last[0]}")
        if code > _SIGNALLED and code - _SIGNALLED in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
            code = _SIGNALLED - code
        return HostState(HostPhase.ENDED, code, key)

    def end(self, host: SlurmHost, now: bool) -> None:
        """A signal to the step. SIGTERM to srun would not do: it has its tasks killed."""
        if (host.srun.process.poll() or 0) > 0:
            return
        step, note = _step(host.srun), self._allocation.note
        if step and note is not None:
            host.errands.append(query(["scancel", f"--signal={'KILL' if now else 'TERM'}", f"{note.job}.{step}"]))
        if now or not step:
            host.killed = True
            host.srun.process.terminate()

    def release(self) -> list[str]:
        """End the job, or in another's the run's steps; then what is left of srun here."""
        self._allocation.drop()
        left = give_back(self.directory)
        for host in self.hosts:
            for question in (*host.errands, *([host.question] if host.question is not None else [])):
                question.drop()
            host.srun.close()
        return [left] if left else []

    def _node_failed(self, host: SlurmHost, key: str, failure: str) -> HostState:
        """Slurm has given up the node: lost, once the reason is known or did not come in time."""
        if host.question is None:
            host.question = query(["sinfo", "--noheader", "--Node", f"--nodes={host.node}", "--format=%E"])
        answer = host.question.answer()
        if answer is None:
            return HostState(HostPhase.RUNNING, key=key)
        reasons = [line.strip() for line in answer.output.splitlines() if line.strip() not in ("", "none")]
        return HostState(HostPhase.LOST, None, key, f"Slurm reports: {failure}" + (f", {reasons[0]}" if reasons else ""))

    def _without_srun(self, host: SlurmHost, key: str) -> HostState:
        """srun was killed from outside. Its child has the step killed then, unless it is dead too: Slurm is asked now and then."""
        if host.question is None:
            if time.monotonic() >= host.ask_again and self._allocation.note is not None:
                job = self._allocation.note.job
                host.question = query(["squeue", "--steps", "--noheader", f"--jobs={job}", "--format=%i"])
        elif (answer := host.question.answer()) is not None:
            host.question, host.ask_again = None, time.monotonic() + _ASK_AGAIN
            steps = [name.rpartition(".")[2] for name in answer.output.split()]
            if answer.code == 0 and _step(host.srun) not in steps:
                return HostState(HostPhase.ENDED, None, key, "its step has ended, and srun was killed before")
        return HostState(HostPhase.RUNNING, key=key)

    def _tail(self, host: SlurmHost) -> str:
        """The end of what srun and the host have written to the log."""
        try:
            with host.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(host.begins, size - _LONGEST_TAIL))
                return file.read().decode(errors="replace")
        except OSError:
            return ""


def _step(srun: Channel) -> str:
    """The number of a host's step; "" before it is printed."""
    for line in srun.said.splitlines(keepends=True):
        if line.startswith(b'{"step": ') and line.endswith(b"}\n"):
            return str(json.loads(line)["step"])
    return ""
