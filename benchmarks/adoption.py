"""What does the death of a run server cost? Agents' step rate without one, what is lost, and which processes are started again.

    python benchmarks/adoption.py [--kills 20] [--quick]

Four agents learn (`configs/4agents_ring.yaml`). At random moments the run server is killed (SIGKILL), and after a random pause
`orchestrate up --resume` starts another one, which takes over the processes that go on. Rates are those of the slowest agent in the time
without a run server (from the death to the command), and until all nodes have registered again, over its rate in the ten seconds before
the death. With --quick: one kill, and all times a quarter.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measuring import machine, median, table
from orchestrator.launch.process_control import marked
from orchestrator.results.run_directories import read
from orchestrator.results.run_files import read_json, read_lines

REPOSITORY = Path(__file__).resolve().parent.parent
AGENTS = [f"agent-{i}" for i in range(4)]
BEFORE = 10.0
"""seconds before a death in which the rate is measured"""
SETTINGS = (
    "until={time: 8h}",
    "environment.copies=16",
    "evaluation.every=100000000",
    "exchange.consensus.every={updates: 10}",
    "metrics={every: 250ms, sinks: [csv]}",
    "supervision={suspect: 20s, dead: 60s}",
)
"""rows of metrics four times a second, averaging every few seconds, no evaluation but the first; a crowded machine is no death"""


def command(runs: Path, *words: str) -> None:
    """Call `orchestrate`; an error with its output where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--runs-dir", str(runs), *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"orchestrate {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def wait(what: str, condition: Callable[[], Any], within: float) -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {within:g} s: {what}")
        time.sleep(0.1)
    return value


class Progress:
    """Steps of one agent over time, by the rows of its own file."""

    def __init__(self, node: Path) -> None:
        rows = [(line["t"], line["step"]) for line in read_lines(node / "metrics.jsonl") if line.get("name") == "environment.steps"]
        self.times = [t for t, _ in rows]
        self.steps = [step for _, step in rows]

    def at(self, time: float) -> float:
        """Steps at that time, interpolated between two rows."""
        after = min(max(1, bisect_left(self.times, time)), len(self.times) - 1)
        (t0, t1), (s0, s1) = self.times[after - 1 : after + 1], self.steps[after - 1 : after + 1]
        return float(s0 + (s1 - s0) * (time - t0) / (t1 - t0))

    def rate(self, begin: float, end: float) -> float:
        """Steps per second."""
        return (self.at(end) - self.at(begin)) / (end - begin)

    @property
    def falls(self) -> int:
        """How often the count was smaller than before: what a restart from a checkpoint looks like."""
        return sum(b < a for a, b in zip(self.steps, self.steps[1:], strict=False))


def registered(directory: Path, seen: int) -> float | None:
    """When the last node had registered at the run server that came after event number `seen`; None before."""
    alive = {
        event["node"]: event["t"]
        for event in read_lines(directory / "events.jsonl")
        if event["id"] > seen and event["code"] == "node.alive"
    }
    return time.time() if len(alive) == len(AGENTS) + 1 else None


def last_event(directory: Path) -> int:
    """The number of the newest event."""
    return max((int(event["id"]) for event in read_lines(directory / "events.jsonl")), default=0)


def kill_and_take_over(runs: Path, directory: Path, pause: float) -> tuple[float, float, float]:
    """Unix times: of the death, of the command, and when all nodes had registered again."""
    seen = last_event(directory)
    os.kill(int(read(directory).record["pid"]), signal.SIGKILL)
    died = time.time()
    time.sleep(pause)
    resumed = time.time()
    command(runs, "up", "--resume", directory.name, "-d")
    return died, resumed, float(wait("all nodes register again", lambda: registered(directory, seen), 120))


def lost_rounds(directory: Path) -> tuple[int, int, int]:
    """Averaging rounds of which all agents have a row in their own files; those of them that the run's metrics lack; rows there twice."""
    own = [
        {int(line["value"]) for line in read_lines(directory / "nodes" / agent / "metrics.jsonl") if line.get("name") == "consensus.round"}
        for agent in AGENTS
    ]
    whole = set.intersection(*own)
    recorded = [
        int(line["step"])
        for line in read_lines(directory / "nodes" / "run" / "metrics.jsonl")
        if line.get("name") == "consensus.disagreement"
    ]
    return len(whole), len(whole - set(recorded)), len(recorded) - len(set(recorded))


def others(directory: Path) -> set[tuple[int, float]]:
    """All processes of the run but its run server, by number and start."""
    server = int(read(directory).record["pid"])
    return {(process.pid, process.create_time()) for process in marked(str(directory)) if process.pid != server}


def measure(kills: int, seed: int, scale: float) -> None:
    """Run, kill, and print the table; all times are multiplied by `scale`."""
    draw, before = random.Random(seed), scale * BEFORE
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        directory = runs / "adopted"
        command(runs, "up", "configs/4agents_ring.yaml", *SETTINGS, "--name", directory.name, "-d", "--timeout", "200s")
        try:
            wait("agents learn", lambda: Progress(directory / "nodes" / AGENTS[0]).steps[-1:] > [1000], 600)
            first = others(directory)
            times = []
            for _ in range(kills):
                time.sleep(before + scale * draw.uniform(1.0, 8.0))
                times.append(kill_and_take_over(runs, directory, scale * draw.uniform(2.0, 15.0)))
                print(f"{len(times)} of {kills}", file=sys.stderr, flush=True)
            time.sleep(before)
            new = len(others(directory) - first)
        finally:
            command(runs, "down", directory.name)
        report(directory, times, before, new)


def report(directory: Path, times: list[tuple[float, float, float]], before: float, new: int) -> None:
    """Print what the files of the run have. `before`: seconds before a death in which the rate is measured; `new`: processes that were
    started after the first death."""
    progress = [Progress(directory / "nodes" / agent) for agent in AGENTS]

    def worst(begin: float, end: float, died: float) -> float:
        return min(one.rate(begin, end) / one.rate(died - before, died) for one in progress)

    without = [worst(died, resumed, died) for died, resumed, _ in times]
    taking = [worst(resumed, done, died) for died, resumed, done in times]
    control = [worst(died - before / 2, died, died) for died, _, _ in times]
    rounds, missing, twice = lost_rounds(directory)
    events = [int(event["id"]) for event in read_lines(directory / "events.jsonl")]
    counters: dict[str, int] = {}
    for path in directory.glob("nodes/*/wire*.json"):
        for name, value in read_json(path).items():
            counters[name] = counters.get(name, 0) + value
    incarnations = sum(1 for path in directory.glob("nodes/*/incarnations.jsonl") for _ in read_lines(path))
    longest = max(b - a for one in progress for a, b in zip(one.times, one.times[1:], strict=False))
    rows = [
        ["kills of the run server, each followed by `up --resume`", str(len(times))],
        ["seconds without a run server, until the command", median([resumed - died for died, resumed, _ in times])],
        ["seconds from the command until all nodes have registered", median([done - resumed for _, resumed, done in times])],
        ["slowest agent's step rate without a run server, over that before", median(without)],
        ["... while the new one starts and takes over", median(taking)],
        [f"... in the {before / 2:g} s before the death, for comparison", median(control)],
        ["takeovers with a rate below 0.8 without a run server", str(sum(rate < 0.8 for rate in without))],
        ["processes of host and nodes that were started again", str(max(new, incarnations - len(AGENTS) - 1))],
        ["counts of steps that fell", str(sum(one.falls for one in progress))],
        ["longest time between two rows of an agent's metrics, seconds", f"{longest:.2f}"],
        ["averaging rounds, those missing in the run's metrics, written twice", f"{rounds}, {missing}, {twice}"],
        ["numbers missing among the events", str(max(events) - len(set(events)))],
        [
            "rows of metrics and events dropped (`tx.dropped_*`)",
            str(sum(v for name, v in counters.items() if name.startswith("tx.dropped_"))),
        ],
    ]
    print(machine(), "\n")
    print(table(["", "median (min..max)"], rows))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--quick", action="store_true", help="one kill, and all times a quarter")
    arguments = parser.parse_args()
    kills, scale = (1, 0.25) if arguments.quick else (arguments.kills, 1.0)
    measure(kills, arguments.seed, scale)


if __name__ == "__main__":
    main()
