"""The allocation in which a run's hosts live: the one that this process was started in, or a job of its own; and what it offers."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from orchestrator.config.configuration import Configuration
from orchestrator.launch.engine_commands import BackgroundCommand, CommandAnswer
from orchestrator.launch.placement import Slot
from orchestrator.launch.slurm.slurm_commands import PATIENCE, ask, expand, no_controller, query, words
from orchestrator.launch.slurm.slurm_script import cure, script, submission
from orchestrator.results.run_files import read_json, write_json
from protocols.runtime.errors import ResourceError

NOTE = "slurm.json"
"""file in the run's directory with the run's job"""
_FIRST_LOOK, _LONGEST_LOOK, _LONGER = 0.2, 5.0, 1.5
_SUBMIT = 30.0
_GONE = 6.0
_ASK_AGAIN = 2.0
_MIB = 2**20
_NEVER = ("BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS", "PartitionNodeLimit", "PartitionTimeLimit")
_WAITS = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "RESIZING", "SUSPENDED")


@dataclass(frozen=True)
class Note:
    """A run's job. `name` is that of its steps, and of the job where it is the run's `own`, by which it is found before its number is
    known."""

    name: str
    job: str
    own: bool

    def write(self, directory: Path) -> None:
        """Write the note to the run's directory."""
        write_json(directory / NOTE, asdict(self))

    @staticmethod
    def read(directory: Path) -> Note | None:
        """The note in the run's directory; None where the file is missing."""
        note = read_json(directory / NOTE)
        return Note(**note) if note else None


@dataclass(frozen=True)
class NodeShare:
    """What the job has on one node: numbers of processors, bytes of memory (0: not counted), generic resources as Slurm writes them."""

    node: str
    cpus: int
    memory: int
    gres: str

    @property
    def gpus(self) -> int:
        """How many of the generic resources are GPUs: of `gpu:2`, `gpu:a100:2` and `gpu` two, two and one."""
        kinds = [part.split(":") for part in self.gres.split(",")]
        return sum(int(kind[-1]) if kind[-1].isdecimal() else 1 for kind in kinds if kind[0] == "gpu")


class Allocation:
    """Asked for by `request`, then looked at by `slots` until it is there. Nothing here waits."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._query: BackgroundCommand | None = None
        self._acquisition: Generator[None, None, list[Slot]] | None = None
        self.note: Note | None = None
        self.shares: dict[str, NodeShare] = {}
        """by slot name, once the allocation is there"""
        self.waiting = ""

    def request(self, configuration: Configuration) -> None:
        """Join the job around this process, or submit one; either way it is noted first."""
        job = os.environ.get("SLURM_JOB_ID", "")
        self.note = Note(f"{self._directory.name}-{secrets.token_hex(4)}", job, own=not job)
        self.note.write(self._directory)
        self._acquisition = self._acquire(self.note, configuration)
        next(self._acquisition)

    def slots(self) -> list[Slot] | None:
        """One for each node, once when the job runs; None before. `ResourceError` when it never will."""
        if self._acquisition is not None:
            try:
                next(self._acquisition)
            except StopIteration as done:
                return cast("list[Slot]", done.value)
        return None

    def drop(self) -> None:
        """The answer is not needed any more."""
        if self._query is not None:
            self._query.drop()

    def _acquire(self, note: Note, configuration: Configuration) -> Generator[None, None, list[Slot]]:
        """Go on whenever Slurm has answered, to the slots that the job offers."""
        if note.own:
            self.waiting = "Slurm to take the job"
            (self._directory / "hosts").mkdir(exist_ok=True)
            answer = yield from self._ask(submission(configuration, note.name), script(self._directory, note.name, NOTE), _SUBMIT)
            job = answer.output.strip().partition(";")[0]
            if answer.code != 0 or not job.isdecimal():
                refusal = words(answer)
                raise ResourceError(f"sbatch refuses the job: {refusal}; {cure(refusal)}")
            self.note = note = Note(note.name, job, own=True)
            note.write(self._directory)
        shares, hosts = shares_of((yield from self._running(note))), configuration.launch.hosts
        if len(shares) < hosts:
            raise ResourceError(
                f"launch.hosts is {hosts}, and job {note.job} has {len(shares)} node{'' if len(shares) == 1 else 's'}: "
                f"ask for more (sbatch -N{hosts}), or set launch.hosts={max(1, len(shares))}"
            )
        self.shares = {share.node.lower(): share for share in shares}
        answer = yield from self._ask(["scontrol", "show", "node", ",".join(share.node for share in shares)])
        known = {fact(part, "NodeName"): part for part in re.split(r"\n(?=NodeName=)", answer.output)}
        return [Slot(name, float(s.cpus), s.memory or _memory(known.get(s.node, "")), s.gpus) for name, s in self.shares.items()]

    def _ask(self, command: list[str], text: str = "", patience: float = PATIENCE) -> Generator[None, None, CommandAnswer]:
        self._query = query(command, text, patience)
        yield
        while (answer := self._query.answer()) is None:
            yield
        return answer

    def _running(self, note: Note) -> Generator[None, None, str]:
        """Look at the job until it runs, more rarely with time; what Slurm shows of it then."""
        period = _FIRST_LOOK
        while True:
            answer = yield from self._ask(["scontrol", "show", "job", "--details", note.job])
            state, reason = fact(answer.output, "JobState"), fact(answer.output, "Reason")
            if not state:
                if "Invalid job id" in answer.errors:
                    raise ResourceError(f"Slurm has no job {note.job} any more; it was cancelled, or has ended")
                self.waiting = f"Slurm to answer about job {note.job} ({words(answer)})"
            elif reason in _NEVER:
                raise ResourceError(f"Slurm will never start job {note.job}: {reason}; {cure(reason)}")
            elif state in _WAITS:
                self.waiting = f"Slurm's job {note.job}, {state.lower()}" + (f": {reason}" if reason != "None" else "")
            elif state == "RUNNING":
                return answer.output
            else:
                log = self._directory / "hosts" / "job.log"
                raise ResourceError(f"Slurm's job {note.job} is {state} ({reason}); its output, if any, is in {log}")
            due, period = time.monotonic() + period, min(_LONGEST_LOOK, _LONGER * period)
            while time.monotonic() < due:
                yield


def _memory(facts: str) -> int:
    """Bytes of a node of which Slurm does not count the memory: all that it has. 1 MiB is Slurm's default without a configured size."""
    real, free = int(fact(facts, "RealMemory") or 1), fact(facts, "FreeMem")
    return (real if real > 1 or not free.isdecimal() else int(free)) * _MIB


def fact(text: str, name: str) -> str:
    """The value of `name` in what `scontrol show` prints; "" when it is not there."""
    found = re.search(rf"(?:^|\s){name}=(\S*)", text)
    return found[1] if found else ""


def shares_of(text: str) -> list[NodeShare]:
    """What a job has on each node, as `scontrol show job --details` prints it."""
    shares = []
    for nodes, cpus, memory, unit, gres in re.findall(r"(?m)^\s+Nodes=(\S+) CPU_IDs=(\S+) Mem=(\d+)([KMGT]?)\S* GRES=(\S*)", text):
        count = len(expand(f"[{cpus}]"))
        size = int(memory) * _MIB * {"K": 2**-10, "": 1, "M": 1, "G": 2**10, "T": 2**20}[unit]
        plain = re.sub(r"\([^)]*\)", "", gres)
        shares += [NodeShare(name, count, int(size), "" if plain == "(null)" else plain) for name in expand(nodes)]
    return shares


def give_back(directory: Path) -> str:
    """Kill the run's steps, and end its job if it is its own. May be repeated. What is left, in words, with the command that ends it; ""
    when nothing is."""
    note = Note.read(directory)
    if note is None:
        return ""
    job = note.job or f"--name={note.name}"
    which = f"job {note.job}" if note.job else f"a job named {note.name}"
    if why := no_controller():
        later = f"scancel {job}" if note.own else f"scancel the steps named {note.name} of `squeue -s -j {note.job}`"
        return f"Slurm can't be reached ({why}), and {which} may have processes of the run; when it can: {later}"
    deadline, asked = time.monotonic() + _GONE, 0.0
    while (left := _left(note)) and time.monotonic() < deadline:
        if time.monotonic() >= asked:
            asked = time.monotonic() + _ASK_AGAIN
            for command in _ends(note, left):
                ask(["scancel", *command])
        time.sleep(0.1)
    if any(state not in ("COMPLETING", "STEP") for state in left.values()):
        return f"{which} has not ended yet: scancel {job if note.own else ' '.join(left)}"
    (directory / NOTE).unlink(missing_ok=True)
    return ""


def _ends(note: Note, left: Mapping[str, str]) -> Iterator[list[str]]:
    """Arguments of scancel, in order. SIGKILL to the steps and the script: left alone, they would have time, and the script would call
    `orchestrate down` on a run that may have been resumed meanwhile."""
    if steps := [step for step, state in left.items() if state == "STEP"]:
        yield ["--signal=KILL", *steps]
    if note.own:
        for job in (name for name, state in left.items() if state not in ("STEP", "COMPLETING")):
            yield ["--batch", "--signal=KILL", job]
            yield [job]


def _left(note: Note) -> dict[str, str]:
    """The run's steps (STEP), and the job with its state if it is the run's own. A submission without answer is found by its
    name."""
    which = f"--jobs={note.job}" if note.job else f"--name={note.name}"
    found: dict[str, str] = {}
    if note.own:
        answer = ask(["squeue", "--noheader", "--format=%A|%T", which])
        found.update(re.findall(r"(?m)^ *(\d+)\|(\w+)", answer.output))
    jobs = ",".join([note.job] if note.job else found)
    if jobs:
        answer = ask(["squeue", "--steps", "--noheader", f"--jobs={jobs}", "--format=%i|%j"])
        rows = [line.strip().partition("|") for line in answer.output.splitlines()]
        found.update({step: "STEP" for step, _, name in rows if name == note.name})
    return found
