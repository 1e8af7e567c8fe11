"""What a run bears whose hosts are cut off, gone, or far away: real agents on two network namespaces that ssh reaches (root only).

    python benchmarks/hosts.py              # all three; about six minutes
    python benchmarks/hosts.py gone --repeats 3

cut:   a host is unreachable for ten seconds while five agents average the statistics of their Gaussian processes; who was declared dead,
       how far the run went on meanwhile, and how far the agents were apart before, after, and at the end.
gone:  all processes of a host are killed at once, and nothing reaches it; seconds until its agents are back on the other host, and from
       what they go on.
far:   links that hold everything for 50 ms each way; steps a second beside those of links that hold nothing.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import machine, table
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from tests.engines.under_test import Ssh  # noqa: E402
from tests.orchestrator.run_server.cluster import eventually  # noqa: E402

CUT = 10.0
DELAY = 0.05
SPREAD = {"policy": "spread", "pins": {"env-0": "h1"}}


class Run:
    """A running run, read from its directory."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.directory, self.process = directory, process

    def events(self, *codes: str) -> list[dict[str, Any]]:
        """Those with one of these codes, in their order."""
        path = self.directory / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event.get("code") in codes]

    def wait(self, what: str, condition: Callable[[], Any], within: float) -> Any:
        """The first true value of the condition, within so many seconds."""

        def there() -> Any:
            if self.process.poll() is not None:
                log = self.directory.with_suffix(".log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{what}: the run has ended with {self.process.returncode}:\n{log}")
            return condition()

        return eventually(what, there, within)

    def metrics(self, node: str, name: str) -> list[tuple[float, float]]:
        """(Unix time, value) of all rows of a node's figure."""
        path = self.directory / "nodes" / node / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []
        return [(row["t"], row["value"]) for row in rows if row["name"] == name]

    def end(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(120)


@contextmanager
def running(engine: Ssh, directory: Path, name: str, base: str, **settings: Any) -> Iterator[Run]:
    """The configuration with these settings on the engine's hosts, from when all nodes are up."""
    config = directory / f"{name}.yaml"
    launch = {**engine.launch(), "placement": SPREAD}
    YAML().dump({"version": 2, "extends": str(REPOSITORY / "configs" / base), "launch": launch, **settings}, config)
    words = [sys.executable, "-m", "orchestrator", "--runs-dir", str(directory), "up", "--plain", str(config), "--name", name]
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    run = Run(directory / name, process)
    try:
        run.wait("all nodes are up", lambda: run.events("run.running"), 90)
        yield run
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    continue


def where(run: Run, host: str) -> list[str]:
    """Nodes on a host."""
    return [name for name, place in json.loads((run.directory / "placement.json").read_text()).items() if place == host]


# --- the three ----------------------------------------------------------------------------------------------------------------------------


def cut(engine: Ssh, directory: Path, repeat: int) -> dict[str, float]:
    """A host cut off for ten seconds in the midst of averaging."""
    averaging = {"every": "100ms", "rounds": 5000, "report_every": 1, "tolerance": 1e-300, "min_transitions": 500}
    settings = {"clock": "wall", "seed": repeat, "until": {"time": "75s"}, "exchange": {"statistics": averaging}}
    with running(engine, directory, f"cut-{repeat}", "odmar/gp_consensus_demo.yaml", **settings) as run:
        away = where(run, "h2")
        run.wait("agents have begun to average", lambda: run.metrics("run", "statistics.disagreement"), 60)
        began = time.time()
        steps = run.metrics("env-0", "steps")
        engine.hosts["h2"].cut()
        eventually("ten seconds have passed", lambda: time.time() > began + CUT, CUT + 5)
        engine.hosts["h2"].heal()
        healed = time.time()
        code = run.end()
        apart = run.metrics("run", "statistics.disagreement")
        during = [value for t, value in run.metrics("env-0", "steps") if began < t < healed]
        return {
            "exit code": code,
            "hosts and nodes declared dead": len(run.events("node.dead", "host.lost")),
            "nodes cut off": len(away),
            "steps of the environment meanwhile": max(during, default=0.0) - (steps[-1][1] if steps else 0.0),
            "apart when it was cut": max((value for t, value in apart if t <= began), default=float("nan")),
            "apart at the end": apart[-1][1],
            "seconds from healing to 1e-6": next((t - healed for t, value in apart if t > healed and value < 1e-6), float("inf")),
        }


def gone(engine: Ssh, directory: Path, repeat: int) -> dict[str, float]:
    """A machine that dies."""
    settings = {"seed": repeat, "until": {"time": "5min"}, "supervision": {"checkpoint_interval": "5s"}}
    with running(engine, directory, f"gone-{repeat}", "4agents_ring.yaml", **settings) as run:
        moving = where(run, "h2")
        run.wait("they have checkpoints", lambda: all(updates(run, name) for name in moving), 90)
        before = len(run.events("node.alive"))
        killed = time.monotonic()
        engine.kill_machine("h2", None)  # type: ignore[arg-type]

        def back() -> bool:
            return {event["node"] for event in run.events("node.alive")[before:]} >= set(moving)

        run.wait("they are back", back, 90)
        seconds = time.monotonic() - killed
        words = f"{' and '.join(moving)} go on from their checkpoints"
        run.wait(words, lambda: {event["node"] for event in run.events("node.restored")} >= set(moving), 30)
        run.process.send_signal(signal.SIGINT)
        run.end()
    engine.revive_machine("h2")
    return {"agents on the machine": len(moving), "back after, s": seconds}


def updates(run: Run, name: str) -> list[Path]:
    """Checkpoints copied to the run directory."""
    return list((run.directory / "nodes" / name / "checkpoints").glob("*"))


def far(engine: Ssh, directory: Path, repeat: int) -> dict[str, float]:
    """The main configuration over near and far links."""
    found = {}
    for name, delay in (("near", 0.0), ("far", DELAY)):
        for host in engine.hosts.values():
            host.delay(delay)
        with running(
            engine, directory, f"{name}-{repeat}", "4agents_ring.yaml", seed=repeat, until={"time": "40s"}, evaluation={"final_episodes": 1}
        ) as run:
            found[f"{name}: exit code"] = float(run.end())
            summary = json.loads((run.directory / "summary.json").read_text())
            found[f"{name}: steps/s"] = summary["steps"] / summary["training_seconds"]
            found[f"{name}: declared dead"] = float(len(run.events("node.dead", "host.lost")))
    for host in engine.hosts.values():
        host.delay(0)
    return found


def spread(values: Sequence[float]) -> str:
    """`median (min..max)`, in three digits."""
    return f"{statistics.median(values):.3g} ({min(values):.3g}..{max(values):.3g})"


EXPERIMENTS = {"cut": cut, "gone": gone, "far": far}


def main() -> None:
    """Print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", choices=[*EXPERIMENTS, []], help="default: all")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    if reason := Ssh.why_not():
        raise SystemExit(f"hosts can't be made here: {reason}")
    print(machine())
    with Ssh() as engine, tempfile.TemporaryDirectory(prefix="mur-") as directory:
        for name in options.experiments or EXPERIMENTS:
            found = [EXPERIMENTS[name](engine, Path(directory), repeat) for repeat in range(options.repeats)]
            print(f"\n{name}\n")
            print(table(["figure", "median (range)"], [[key, spread([one[key] for one in found])] for key in found[0]]), flush=True)


if __name__ == "__main__":
    main()
