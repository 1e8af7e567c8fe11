"""What the live page costs: share of a core, memory over time, and the time to open the record of a finished run.

    python benchmarks/page_cost.py [--nodes 64 1000] [--seconds 30] [--every 2.0] [--lines 100000] [--warm-up 8]
    python benchmarks/page_cost.py --nodes 64 --minutes 60        # memory of the page's process, minute by minute
    python benchmarks/page_cost.py --ratio 6 [--seconds 30]       # step rate of a real run with the page open over closed

A run is played by one process: it holds the lock of a run directory, answers status requests as a run server does, and appends the metrics,
usage, counts of links and events that so many agents on a ring would write. `orchestrate dash` follows it with one reader of its stream.
Metrics: processor time of the page's process by second, messages of the stream by second, resident memory at the beginning and at the end.

With `--ratio N` a real run of `configs/4agents_ring.yaml` trains. Its step rate is measured N times with a page and a reader of its stream
beside it, and N times without a page, in the order open, closed, closed, open, ..., so that a drift of the speed cancels.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from measuring import cpu_seconds, machine, table

ROOT = Path(__file__).resolve().parents[1]
_METRICS = (
    "success", "success.cooperative", "success.individual", "negotiated", "return", "substituted", "consensus.rounds", "consensus.missing",
    "round.duration", "round.quorum", "updates", "goals.entropy", "buffer.transitions", "hindsight.complete", "environment.steps",
    "environment.episodes", "peers.alive", "peers", "learner.loss", "learner.value", "world_model.error", "world_model.model_loss",
)  # fmt: skip
_USAGE = ("steps_per_second", "messages_per_second", "time.wait", "time.exchange", "time.act", "time.sample", "time.learn", "time.other")
_HISTORY = ("return", "success", "aligned", "consensus.disagreement", "world_model.error")
TOKEN = "of the benchmark"


def prepare(directory: Path, agents: int, every: float) -> None:
    """The files of a run that has just begun."""
    from orchestrator.config.configuration import Configuration
    from orchestrator.results.run_files import append_line, utc_now, write_json

    settings = {
        "environment": {"id": "landmarks"},
        "until": {"time": "1h"},
        "agents": {"count": agents},
        "metrics": {"every": f"{every:g}s"},
    }
    configuration = Configuration.model_validate({"version": 2, **settings})
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(configuration.model_dump_json())
    write_json(directory / "run.json", {"name": directory.name, "state": "RUNNING", "started": utc_now(), "pid": os.getpid()})
    for node in nodes_of(agents):
        (directory / "nodes" / node).mkdir(parents=True)
        for state in ("joining", "alive"):
            event = {"t": utc_now(), "severity": "info", "code": f"node.{state}", "node": node, "text": f"{node} {state}", "incarnation": 1}
            append_line(directory / "events.jsonl", event)
    append_line(directory / "events.jsonl", {"t": utc_now(), "severity": "info", "code": "run.running", "node": "run", "text": "up"})


def nodes_of(agents: int) -> list[str]:
    """Names of the nodes of a run."""
    return ["env-0", *(f"agent-{i}" for i in range(agents))]


def report(directory: Path, node: str, agents: int, step: int, now: float, random: np.random.Generator) -> None:
    """What a node appends every so often."""
    for file, names in (("metrics.jsonl", _METRICS), ("usage.jsonl", _USAGE)):
        values = random.random(len(names))
        lines = [
            json.dumps({"t": now, "step": step, "episode": step // 60, "name": name, "value": value})
            for name, value in zip(names, values.tolist(), strict=True)
        ]
        with (directory / "nodes" / node / file).open("a") as out:
            out.write("\n".join(lines) + "\n")
    if node != "env-0":
        number = int(node.removeprefix("agent-"))
        links = {f"peer agent-{other % agents}": [1000 * step, step, 0, 1500 * step] for other in (number - 1, number + 1)}
        with (directory / "nodes" / node / "links.jsonl").open("a") as out:
            out.write(json.dumps({"t": now, "incarnation": 1, "links": links}) + "\n")


def play(directory: Path, agents: int, every: float) -> None:
    """Play the run until standard input ends."""
    from orchestrator.results.run_files import RunLock, write_json
    from protocols.conversations.client_requests.client_messages import Status, WhyRequest
    from protocols.conversations.membership.membership_messages import Hello, Welcome
    from protocols.runtime.node_start import RUN_SERVER
    from protocols.transport import Identity, Transport, TransportOptions

    lock = RunLock(directory)
    transport = Transport(Identity(directory.name, RUN_SERVER), TransportOptions(token=TOKEN))
    write_json(directory / "control.json", {"endpoint": transport.bind("ctl"), "token": TOKEN, "run": directory.name})
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    random, began, nodes = np.random.default_rng(0), time.time(), nodes_of(agents)
    due = {node: began + every * number / len(nodes) for number, node in enumerate(nodes)}
    step = 0
    while not over.is_set():
        now = time.time()
        step = int(1000 * (now - began))
        for node in nodes:
            if due[node] <= now:
                report(directory, node, agents, step, now, random)
                due[node] += every
        for received in transport.receive(0.01):
            hello = isinstance(received.message, Hello)
            answer: Any = Welcome() if hello else Status()
            answer.rid = received.message.rid
            text = facts(nodes) if isinstance(received.message, WhyRequest) else snapshot(nodes, step, now - began)
            frame = None if hello else {"snapshot": np.frombuffer(text.encode(), np.uint8)}
            transport.send("ctl", received.src, answer, frame)
    transport.close()
    lock.release()


def snapshot(nodes: list[str], step: int, elapsed: float) -> str:
    """A status with all that one of this size has."""
    history = [math.sin(step + i) for i in range(30)] if len(nodes) <= 256 else []  # a larger one is sent without
    listed = [
        {
            "name": node,
            "role": "env" if node == "env-0" else "agent",
            "state": "alive",
            "phase": "acting",
            "pid": 1,
            "incarnation": 1,
            "restarts": 0,
            "up_after": 1.0,
            "detail": "double_dqn",
            "metrics": dict.fromkeys((*_METRICS, *_USAGE), step / 7) if len(nodes) <= 256 else {"return": step / 7},
            "history": dict.fromkeys(_HISTORY, history),
            "peers": [2, 2],
        }
        for node in nodes
    ]
    return json.dumps({"state": "RUNNING", "elapsed": elapsed, "steps": step, "episodes": step // 60, "phase": "training", "nodes": listed})


def facts(nodes: list[str]) -> str:
    """The answer to the question what every process waits for: each agent for the environment server."""
    entry = {"state": "alive", "host": "host-0", "detail": "", "silent": 0.1, "age": 0.1, "stack": [], "depth": 0}
    wait = {"operation": "step", "peers": ["env-0"], "seconds": 0.01, "left": 1.0, "usual": 0.01, "own": False}
    waits = {node: [] if node == "env-0" else [wait] for node in nodes}
    found = {node: entry | {"role": "env" if node == "env-0" else "agent", "waits": waits[node], "process": None} for node in nodes}
    return json.dumps({"answer": {"phase": "training", "beat": 1.0, "nodes": found, "faults": []}})


class Reader:
    """Reads the stream of a run and counts its messages."""

    def __init__(self, url: str, run: str) -> None:
        parts = urlsplit(url)
        self.messages = self.bytes = 0
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        self._connection.request("GET", f"/api/runs/{run}/events")
        self._response = self._connection.getresponse()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for line in self._response:
                self.messages += line.startswith(b"data:")
                self.bytes += len(line)


@contextlib.contextmanager
def page_of(folder: Path, run: str) -> Iterator[tuple[int, Reader]]:
    """A page of the runs in `folder`, with one reader of one run: the number of its process, and the reader."""
    page = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "--json", "--runs-dir", str(folder), "dash"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        url = json.loads(page.stdout.readline() if page.stdout is not None else "")["url"]
        yield page.pid, Reader(url, run)
    finally:
        page.terminate()
        page.wait(20)


def follow(agents: int, every: float, seconds: float, minutes: int, warm_up: float) -> tuple[list[str], list[list[str]]]:
    """One row: the cost of following a run of so many agents; and rows of its memory, minute by minute."""
    mib, memory = 1024 * 1024, []
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "played"
        prepare(directory, agents, every)
        arguments = [sys.executable, __file__, "--play", str(directory), str(agents), str(every)]
        player = subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE)
        try:
            with page_of(Path(folder), directory.name) as (pid, reader):
                time.sleep(warm_up)
                spent, messages, size, began = cpu_seconds(pid), reader.messages, reader.bytes, time.monotonic()
                before = after = psutil.Process(pid).memory_info().rss
                for minute in range(1, minutes + 1):
                    time.sleep(max(0.0, began + 60.0 * minute - time.monotonic()))
                    after = psutil.Process(pid).memory_info().rss
                    memory.append([str(agents), str(minute), f"{after / mib:.1f}"])
                if not minutes:
                    time.sleep(seconds)
                took = time.monotonic() - began
                share = (cpu_seconds(pid) - spent) / took
                after = psutil.Process(pid).memory_info().rss
                rate, kib = (reader.messages - messages) / took, (reader.bytes - size) / took / 1024
        finally:
            player.communicate(timeout=20)
    row = [str(agents), f"{every:g}", f"{100 * share:.1f} %", f"{rate:.2f}", f"{kib:.0f}", f"{before / mib:.0f} -> {after / mib:.0f}"]
    return row, memory


def step_rate(metrics: Path, since: float) -> float:
    """Training steps a second between the first and the last report of the environment server after the Unix time `since`; 0 with fewer
    than two."""
    lines = map(json.loads, metrics.read_text().splitlines())
    points = [(line["t"], line["value"]) for line in lines if line["name"] == "steps" and line["t"] >= since]
    return (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0]) if len(points) > 1 else 0.0


def ratios(repeats: int, every: float, seconds: float, warm_up: float) -> list[list[str]]:
    """Rows of step rates with the page open and closed, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = ["until={time: 2h}", "evaluation.every=1000000000", "evaluation.final_episodes=1", "metrics.sinks=[]", "name=measured",
                     f"metrics.every={every:g}s"]  # fmt: skip
        command = [sys.executable, "-m", "orchestrator", "--runs-dir", folder, "up", "configs/4agents_ring.yaml", "--timeout", "600s"]
        leader = subprocess.Popen([*command, *overrides], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 900.0
            while not (found := list(Path(folder).glob("*/nodes/env-0/metrics.jsonl"))) or step_rate(found[0], 0.0) <= 0.0:
                if leader.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the run has not begun to train")
                time.sleep(1.0)
            run = found[0].parents[2].name
            rates: dict[bool, list[float]] = {True: [], False: []}
            for number in range(2 * repeats):
                with page_of(Path(folder), run) if number % 4 in (0, 3) else contextlib.nullcontext():
                    time.sleep(warm_up)
                    since = time.time()
                    time.sleep(seconds)
                    rates[number % 4 in (0, 3)].append(step_rate(found[0], since))
        finally:
            leader.terminate()
            leader.wait(120)
    each = [opened / closed if closed else math.nan for opened, closed in zip(rates[True], rates[False], strict=True)]
    rows = [[f"{o:.0f}", f"{c:.0f}", f"{ratio:.3f}"] for o, c, ratio in zip(rates[True], rates[False], each, strict=True)]
    total = sum(rates[True]) / sum(rates[False])
    error = f" (standard error {float(np.std(each, ddof=1)) / math.sqrt(repeats):.3f})" if repeats > 1 else ""
    return [*rows, [f"mean {np.mean(rates[True]):.0f}", f"mean {np.mean(rates[False]):.0f}", f"{total:.3f}{error}"]]


def replay(lines: int) -> list[str]:
    """One row: opening the record of a run with so many lines of metrics."""
    from orchestrator.page.history.run_history import RunHistory
    from orchestrator.page.state.page_state import page_state

    with tempfile.TemporaryDirectory() as folder:
        directory, agents = Path(folder) / "recorded", 4
        prepare(directory, agents, 2.0)
        random, now, written = np.random.default_rng(0), time.time(), 0
        while written < lines:
            now += 2.0
            for node in nodes_of(agents):
                report(directory, node, agents, written, now, random)
                written += len(_METRICS) + len(_USAGE)
        began, spent = time.perf_counter(), time.process_time()
        history = RunHistory(directory)
        while history.refresh():
            pass
        page_state(history)
        opened, opened_cpu = time.perf_counter() - began, time.process_time() - spent
        spent, count = time.process_time(), 200
        for number in range(count):
            page_state(history, history.last * number / count)
        state = (time.process_time() - spent) / count
    return [f"{written:,}", f"{opened:.2f}", f"{opened_cpu:.2f}", f"{1000 * state:.2f}"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[64, 1000], help="agents of the played runs")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds that each is followed for")
    parser.add_argument("--minutes", type=int, default=0, help="minutes that each is followed for, with the memory of each minute")
    parser.add_argument("--ratio", type=int, default=0, metavar="N", help="measure the step rate of a real run N times open and closed")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two reports of a node (metrics.every)")
    parser.add_argument("--lines", type=int, default=100_000, help="lines of metrics of the finished run")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds before each measurement")
    parser.add_argument("--play", nargs=3, metavar=("DIRECTORY", "AGENTS", "EVERY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.play:
        play(Path(given.play[0]), int(given.play[1]), float(given.play[2]))
        return
    print(machine(), flush=True)
    print()
    if given.ratio:
        print(
            table(["steps/s, page open", "steps/s, page closed", "ratio"], ratios(given.ratio, given.every, given.seconds, given.warm_up))
        )
        return
    followed = [follow(agents, given.every, given.seconds, given.minutes, given.warm_up) for agents in given.nodes]
    rows = [row for row, _ in followed]
    head = ["agents", "reports every (s)", "share of a core", "messages/s", "KiB/s", "memory (MiB)"]
    print(table(head, rows), flush=True)
    print()
    if given.minutes:
        print(table(["agents", "minute", "memory (MiB)"], [row for _, memory in followed for row in memory]))
        return
    print(table(["lines of metrics", "opened in (s)", "processor time (s)", "state at a time (ms)"], [replay(given.lines)]))


if __name__ == "__main__":
    main()
