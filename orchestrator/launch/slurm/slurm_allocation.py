"""The allocation in which a run's hosts live: the one that this process was started in, or a job of its own; and what it offers."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.config.configuration import Configuration
from orchestrator.launch.placement import Slot
from orchestrator.launch.slurm.slurm_commands import SlurmAnswer, SlurmQuery, ask, expand, no_controller
from orchestrator.launch.slurm.slurm_script import cure, script, submission
from orchestrator.results.run_files import write_json
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
        try:
            return Note(**json.loads((directory / NOTE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


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
        self._submission: SlurmQuery | None = None
        self._look: SlurmQuery | None = None
        self._memories: SlurmQuery | None = None
        self._next, self._period = 0.0, _FIRST_LOOK
        self._hosts = 1
        self.note: Note | None = None
        self.shares: dict[str, NodeShare] = {}
        """by slot name, once the allocation is there"""
        self.waiting = ""

    def request(self, configuration: Configuration) -> None:
        """Join the job around this process, or submit one; either way it is noted first."""
        self._hosts = configuration.launch.hosts
        job = os.environ.get("SLURM_JOB_ID", "")
        self.note = Note(f"{self._directory.name}-{secrets.token_hex(4)}", job, own=not job)
        self.note.write(self._directory)
        if self.note.own:
            self.waiting = "Slurm to take the job"
            (self._directory / "hosts").mkdir(exist_ok=True)
            command = submission(configuration, self.note.name)
            self._submission = SlurmQuery(command, script(self._directory, self.note.name, NOTE), _SUBMIT)

    def slots(self) -> list[Slot] | None:
        """One for each node once the job runs, None before. `ResourceError` when it never will."""
        note = self.note
        if note is None:
            return None
        if self._submission is not None:
            answer = self._submission.answer()
            if answer is None:
                return None
            note = self._submitted(note, answer)
        if not self.shares:
            self._see(note)
        elif self._memories is not None and (known := self._memories.answer()) is not None:
            return self._offers(known)
        return None

    def drop(self) -> None:
        """The answer is not needed any more."""
        for question in (self._submission, self._look, self._memories):
            if question is not None:
                question.drop()

    def _submitted(self, note: Note, answer: SlurmAnswer) -> Note:
        job = answer.output.strip().partition(";")[0]
        if answer.code != 0 or not job.isdecimal():
            raise ResourceError(f"sbatch refuses the job: {answer.words}; {cure(answer.words)}")
        self.note = Note(note.name, job, own=True)
        self.note.write(self._directory)
        self._submission = None
        return self.note

    def _see(self, note: Note) -> None:
        """Ask for the job's state, more rarely with time, and take what it has once it runs."""
        now = time.monotonic()
        if self._look is None:
            if now >= self._next:
                self._look = SlurmQuery(["scontrol", "show", "job", "--details", note.job])
            return
        answer = self._look.answer()
        if answer is None:
            return
        self._look = None
        self._next, self._period = now + self._period, min(_LONGEST_LOOK, _LONGER * self._period)
        state, reason = fact(answer.output, "JobState"), fact(answer.output, "Reason")
        if not state:
            if "Invalid job id" in answer.errors:
                raise ResourceError(f"Slurm has no job {note.job} any more; it was cancelled, or has ended")
            self.waiting = f"Slurm to answer about job {note.job} ({answer.words})"
        elif reason in _NEVER:
            raise ResourceError(f"Slurm will never start job {note.job}: {reason}; {cure(reason)}")
        elif state in _WAITS:
            self.waiting = f"Slurm's job {note.job}, {state.lower()}" + (f": {reason}" if reason != "None" else "")
        elif state != "RUNNING":
            log = self._directory / "hosts" / "job.log"
            raise ResourceError(f"Slurm's job {note.job} is {state} ({reason}); its output, if any, is in {log}")
        else:
            self._take(note, answer.output)

    def _take(self, note: Note, text: str) -> None:
        shares = shares_of(text)
        if len(shares) < self._hosts:
            raise ResourceError(
                f"launch.hosts is {self._hosts}, and job {note.job} has {len(shares)} node{'' if len(shares) == 1 else 's'}: "
                f"ask for more (sbatch -N{self._hosts}), or set launch.hosts={max(1, len(shares))}"
            )
        self.shares = {share.node.lower(): share for share in shares}
        self._memories = SlurmQuery(["scontrol", "show", "node", ",".join(share.node for share in shares)])

    def _offers(self, answer: SlurmAnswer) -> list[Slot]:
        """What the job has of each node; where Slurm does not count memory, all that the node has."""
        known = {fact(part, "NodeName"): part for part in re.split(r"\n(?=NodeName=)", answer.output)}
        slots = []
        for name, share in self.shares.items():
            facts = known.get(share.node, "")
            # 1 MiB is Slurm's default for a node without a configured size.
            real = int(fact(facts, "RealMemory") or 1)
            free = fact(facts, "FreeMem")
            whole = real if real > 1 or not free.isdecimal() else int(free)
            slots.append(Slot(name, float(share.cpus), share.memory or whole * _MIB, share.gpus))
        return slots


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
