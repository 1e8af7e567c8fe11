"""Does `orchestrate why` name the cause of a hang? 22 hangs in real runs, and for each the sentence and the time of the answer.

    python benchmarks/why_planted_hangs.py [--runs ring,room,disk,learning,flooded,lockstep]

Six runs on this machine. A hang is planted, `DELAY` seconds pass, and the command is run once: `named` is whether its first sentence has
the node and the cause that were planted. `command` is the time of the process, with the start of Python, and `processor` its processor
time, which depends less on other programs; `call` is the time of `why(...)` in a process that runs already.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measuring import machine, table
from benchmarks.planted.hangs import VARIABLE
from orchestrator.launch.process_control import read_records, sweep
from orchestrator.results.run_directories import read
from orchestrator.run_server.waits.run_questions import why

REPOSITORY = Path(__file__).resolve().parent.parent
DELAY = 2.5
_RECOVERY = 1.5
"""seconds after a hang was removed"""
_COMMON = [
    "until={time: 20min}", "environment.copies=4", "environment.deadline=60s", "metrics.sinks=[csv]", "plugins=[benchmarks.planted]",
    "agents.learner.kind=planted", "agents.learner.learning_starts=50", "agents.learner.batch_size=8", "agents.learner.hidden=[8]",
    "agents.world_model=null", "exchange.components=[{kind: planted}]", "supervision.suspect=120s", "supervision.dead=300s",
]  # fmt: skip
_RING = [
    "environment.options.horizon=20", "environment.goal_deadline=60s", "exchange.negotiation.deadline=30s", "exchange.consensus=null",
]  # fmt: skip
_ROOM = [
    "environment.id=benchmarks.planted.room:Room", "environment.options={agents: 2}", "agents.goals=null",
    "exchange.negotiation=null", "exchange.hindsight=null", "exchange.consensus=null",
]  # fmt: skip
_RARE = "evaluation={every: 100000, episodes: 1, final_episodes: 1}"
_EVALUATION = "evaluation={every: 1, episodes: 1000, final_episodes: 1, aligned: false}"
"""an evaluation is played nearly all the time"""


@dataclass(frozen=True)
class Row:
    """What came of one hang; times in seconds."""

    hang: str
    sentence: str
    named: bool
    command: float
    processor: float
    call: float


class PlantedRun:
    """One run of the command line, and hangs in it."""

    def __init__(self, place: Path, name: str) -> None:
        self.directory, self._place = place / "runs" / name, place
        self.plants = place / "plants"
        self.plants.mkdir(exist_ok=True)
        self.rows: list[Row] = []

    @property
    def environment(self) -> dict[str, str]:
        """That of all commands."""
        own = {VARIABLE: str(self.plants), "ORCHESTRATE_RUNS": str(self.directory.parent), "OMP_NUM_THREADS": "1"}
        return {**os.environ, "PYTHONPATH": str(REPOSITORY), **own}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`orchestrate ARGUMENTS` to its end."""
        words = [sys.executable, "-m", "orchestrator", *arguments]
        return subprocess.run(words, cwd=self._place, env=self.environment, capture_output=True, text=True, timeout=180, check=False)

    def start(self, *settings: str, wait: bool = True) -> None:
        """Start the run in the background; `wait`: until all nodes are up."""
        words = ["up", str(REPOSITORY / "configs" / "4agents_ring.yaml"), *settings, "-d", "--name", self.directory.name]
        if wait:
            done = self.command(*words)
            if done.returncode:
                raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
        else:
            subprocess.Popen([sys.executable, "-m", "orchestrator", *words], cwd=self._place, env=self.environment,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def pid(self, name: str) -> int:
        """Of the newest process of that name."""
        if name == "run":
            return int(read(self.directory).record["pid"])
        return {record.name: record.pid for record in read_records(self.directory)}[name]

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """SIGSTOP."""
        os.kill(self.pid(name), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid(name), signal.SIGCONT)

    @contextmanager
    def fault(self, *words: str) -> Iterator[None]:
        """A fault by hand."""
        done = self.command("fault", self.directory.name, *words)
        if done.returncode:
            raise SystemExit(f"fault {' '.join(words)}: {done.stderr}")
        try:
            yield
        finally:
            self.command("fault", self.directory.name, "heal")

    @contextmanager
    def planted(self, place: str, node: str, hang: str) -> Iterator[None]:
        """A hang in a component or in the environment."""
        path = self.plants / f"{place}.{node}"
        path.with_suffix(".new").write_text(hang)
        path.with_suffix(".new").rename(path)
        try:
            yield
        finally:
            path.unlink()

    def ask(self, hang: str, expected: str, planted: Callable[[], object], delay: float = DELAY) -> None:
        """Plant it, ask `delay` seconds later, and remove it. `expected`: what the sentence must match."""
        with planted():  # type: ignore[attr-defined]
            time.sleep(delay)
            self._ask(hang, expected)
        time.sleep(_RECOVERY)

    def _ask(self, hang: str, expected: str) -> None:
        began, before = time.monotonic(), os.times()
        done = self.command("why", self.directory.name, "--json")
        command, after = time.monotonic() - began, os.times()
        processor = after.children_user + after.children_system - before.children_user - before.children_system
        began = time.monotonic()
        why(self.directory)
        call = time.monotonic() - began
        chains = json.loads(done.stdout)["chains"] if done.returncode == 0 else [{"level": "bad", "text": done.stderr.strip()}]
        sentence = next((chain["text"] for chain in chains if chain["level"] != "good"), chains[0]["text"])
        self.rows.append(Row(hang, sentence, re.search(expected, sentence) is not None, command, processor, call))
        print(f"{'named' if self.rows[-1].named else 'MISSED':<7} {command:4.1f} s {call:4.1f} s  {hang}: {sentence}", file=sys.stderr)

    def end(self) -> None:
        """End the run, whatever stands still in it."""
        for path in self.plants.iterdir():
            path.unlink()
        self.command("down", self.directory.name, "--now")
        sweep(self.directory)


@contextmanager
def run(place: Path, name: str) -> Iterator[PlantedRun]:
    """A run that is ended in any case."""
    made = PlantedRun(place, name)
    try:
        yield made
    finally:
        made.end()


def ring(here: PlantedRun) -> None:
    """Three agents that negotiate, under the wall clock."""
    here.start(*_COMMON, *_RING, "agents.count=3")
    at = here
    at.ask("stopped agent", r"agent-1 does not answer: stopped \(SIGSTOP\)", lambda: at.stopped("agent-1"))
    at.ask("agent paused by a fault", r"agent-1 .* stopped \(SIGSTOP\) by the fault by-hand-", lambda: at.fault("pause", "agent-1"))
    at.ask("agent hung by a fault", r"agent-1 stands still .* by the fault by-hand-", lambda: at.fault("hang", "agent-1"))
    at.ask("cut link", r"agent-[01] and agent-[01] is cut by the fault", lambda: at.fault("cut", "agent-0:agent-1"))
    at.ask("partition", r"agent-\d and agent-\d is cut by the fault", lambda: at.fault("partition", "agent-0|agent-1,agent-2"))
    lost = ("loss", "agent-0:agent-1", "1", "--channel", "peer")
    at.ask("lost goal proposal", r"(goal proposal from agent-0|propose.* from agent-1).* by the fault by-hand-", lambda: at.fault(*lost))
    at.ask("stopped environment server", r"env-0 does not answer: stopped \(SIGSTOP\)", lambda: at.stopped("env-0"))
    at.ask("stopped host", r"local does not answer: stopped \(SIGSTOP\)", lambda: at.stopped("local"))
    at.ask("stopped run server", r"the run server does not answer: stopped \(SIGSTOP\)", lambda: at.stopped("run"))
    stack = "agent-1 stands still .*its stack: "
    at.ask("deadlocked plugin", stack + "take_two_locks in hangs.py", lambda: at.planted("tick", "agent-1", "take_two_locks"))
    at.ask("plugin that sleeps", stack + "sleep_long in hangs.py", lambda: at.planted("tick", "agent-1", "sleep_long"))
    native = r"agent-1 does not answer .*computes .*; its stack: .*compute_natively in hangs.py"
    at.ask("plugin in native code", native, lambda: at.planted("tick", "agent-1", "compute_natively"))


def room(here: PlantedRun) -> None:
    """Two agents in an environment of a user, evaluated all the time."""
    at = here
    at.start(*_COMMON, *_ROOM, _EVALUATION, "agents.count=2")
    waits = r"waits for the observation .* from env-0 .*; env-0 "
    at.ask("step that does not return", waits + r"stands still in a step .*sleep_long", lambda: at.planted("step", "env-0", "sleep_long"))
    at.ask("step that spins", waits + r".*computes .*; its stack: .*spin_forever", lambda: at.planted("step", "env-0", "spin_forever"))
    late = r"env-0 waits for the actions of tick \d+ \(evaluation\) from agent-1 .*; agent-1 does not answer: stopped"
    at.ask("evaluation with one agent missing", late, lambda: at.stopped("agent-1"))


def disk(here: PlantedRun) -> None:
    """Two agents, one with a large learner that never learns: its checkpoints have tens of megabytes."""
    large = "agents.overrides={agent-1: {learner: {hidden: [1500, 1500], learning_starts: 150000}}}"
    here.start(*_COMMON, *_ROOM, _RARE, "agents.count=2", "supervision.checkpoint_interval=4s", large)
    slow = "{storage: {target: agent-1, action: slow}}"
    here.ask("slow disk", r"agent-1 waits for its disk .*writing a checkpoint", lambda: here.fault("event", slow), delay=8.0)


def learning(here: PlantedRun) -> None:
    """Two agents that learn, and a stop."""
    at = here
    at.start(*_COMMON, *_ROOM, _RARE, "agents.count=2")
    spins = r"agent-0 has been in an update of the learner .*computes .*; its stack: .*spin_forever"
    at.ask("learner that spins", spins, lambda: at.planted("learn", "agent-0", "spin_forever"))

    @contextmanager
    def stopping() -> Iterator[None]:
        with at.planted("tick", "agent-1", "sleep_long"):
            time.sleep(1.0)
            words = [sys.executable, "-m", "orchestrator", "down", at.directory.name]
            down = subprocess.Popen(words, env=at.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _until(lambda: read(at.directory).state == "STOPPING")
            yield
        down.wait(120)

    stop = r"the run server waits for the end of the process from agent-1 .*; agent-1 stands still .*sleep_long"
    at.ask("stop that waits for one node", stop, stopping, delay=1.2)


def flooded(here: PlantedRun) -> None:
    """An agent without which the environment goes on: its inbox fills."""
    at = here
    at.start(*_COMMON, *_ROOM, _RARE, "agents.count=2", "environment.deadline=1ms",
             "environment.copies=1")  # fmt: skip

    @contextmanager
    def full() -> Iterator[None]:
        with at.planted("tick", "agent-1", "sleep_long"):
            time.sleep(12.0)
            yield

    at.ask("full inbox", r"agent-1 stands still .*its inbox has \d+ messages", full)


def lockstep(here: PlantedRun) -> None:
    """Two agents under the logical clock; one of them is late to register."""
    at = here

    @contextmanager
    def importing() -> Iterator[None]:
        with at.planted("import", "agent-1", "sleep_long"):
            at.start(*_COMMON, *_ROOM, "agents.count=2", "clock=logical", "tick=10ms", "supervision.checkpoint_interval=5s", wait=False)
            _until(lambda: (at.directory / "processes.json").exists() and len(read_records(at.directory)) >= 4)
            yield

    joins = r"the run server waits for the registration from agent-1 .*; agent-1 has not registered .*sleep_long"
    at.ask("agent that never joins", joins, importing)
    if not at.directory.exists():
        at.start(*_COMMON, *_ROOM, "agents.count=2", "clock=logical", "tick=10ms", "supervision.checkpoint_interval=5s")
    _until(lambda: read(at.directory).state == "RUNNING")
    time.sleep(3.0)
    late = r"waits for .* from agent-1 .*; agent-1 stands still .*sleep_long"
    at.ask("one agent late at a tick", late, lambda: at.planted("tick", "agent-1", "sleep_long"))

    @contextmanager
    def checkpoint() -> Iterator[None]:
        with at.planted("checkpoint", "agent-1", "sleep_long"):
            time.sleep(8.0)
            yield

    missing = r"env-0 waits for the request to join from agent-1 .*; agent-1 stands still in writing a checkpoint"
    at.ask("checkpoint with one agent missing", missing, checkpoint)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("the run was not there within 90 s")
        time.sleep(0.1)


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 where a hang was not named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="", help="names of the runs to play, separated by commas")
    options = parser.parse_args(arguments)
    parts = {part.__name__: part for part in (ring, room, disk, learning, flooded, lockstep)}
    rows: list[Row] = []
    print(machine())
    with tempfile.TemporaryDirectory(prefix="why-") as folder:
        for name, part in parts.items():
            if not options.runs or name in options.runs.split(","):
                with run(Path(folder), name) as here:
                    part(here)
                rows += here.rows
    lines = [
        (row.hang, row.sentence, "yes" if row.named else "no", f"{row.command:.1f}", f"{row.processor:.1f}", f"{row.call:.2f}")
        for row in rows
    ]
    print(table(("hang", "sentence", "named", "command [s]", "processor [s]", "call [s]"), lines))
    print(f"{sum(row.named for row in rows)} of {len(rows)} named")
    return 0 if all(row.named for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
