"""Memory of an agent, and how soon agents are up: the main configuration, looked at from outside.

    python benchmarks/footprint.py [--seconds 20] [--agents 4]

Memory is the proportional set size (PSS) that Linux reports: private pages, and a share of those that are shared with the warm parent and
its other children. It is printed when all nodes are up (before networks and buffers are made), and after some seconds of training, with
the part that is private. `up` is the time from the end of the warm parent's imports to the last agent's hello.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from measuring import machine

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "configs" / "4agents_ring.yaml"
MEBIBYTE = 1024


def memory(pid: int) -> tuple[float, float]:
    """Proportional and private memory of a process, MiB."""
    rows = {line.split(":")[0]: int(line.split()[1]) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]}
    return rows["Pss"] / MEBIBYTE, (rows["Private_Dirty"] + rows["Private_Clean"]) / MEBIBYTE


def pids(directory: Path) -> dict[str, int]:
    """Pids of the nodes so far."""
    try:
        records = json.loads((directory / "processes.json").read_text())
    except (OSError, ValueError):
        return {}
    return {record["name"]: record["pid"] for record in records}


def events(directory: Path) -> Iterator[dict[str, str]]:
    """Events of the run so far."""
    path = directory / "events.jsonl"
    yield from (json.loads(line) for line in (path.read_text().splitlines() if path.exists() else []))


def look(directory: Path, agents: list[str], when: str) -> None:
    """Print the agents' memory now."""
    found = [memory(pids(directory)[agent]) for agent in agents]
    mean = [sum(column) / len(found) for column in zip(*found, strict=True)]
    most = max(column for column, _ in found)
    print(f"{when:<34}{mean[0]:>8.1f} MiB each (at most {most:.1f}), of which private {mean[1]:.1f} MiB", flush=True)


def wait_for(what: str, seconds: float, directory: Path, agents: list[str]) -> datetime:
    """Time at which the hello of the last agent arrived."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = {event["node"]: event["t"] for event in events(directory) if event["code"] == "node.alive"}
        if alive.keys() >= set(agents):
            return max(datetime.fromisoformat(alive[agent]) for agent in agents)
        time.sleep(0.02)
    raise SystemExit(f"{what}: not within {seconds:g} s")


def main() -> None:
    """Start the run in the background, look at it twice, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="training before the second look")
    parser.add_argument("--agents", type=int, default=4)
    arguments = parser.parse_args()
    agents = [f"agent-{i}" for i in range(arguments.agents)]
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "footprint"
        words = [sys.executable, "-m", "orchestrator", "--runs-dir", folder]
        changes = [f"agents.count={arguments.agents}", "until={time: 10min}"]
        up = subprocess.Popen([*words, "up", str(CONFIG), "-d", "--name", directory.name, *changes], cwd=REPOSITORY)
        try:
            last = wait_for("agents are up", 60, directory, agents)
            look(directory, agents, "up, before networks and buffers")
            up.wait(60)
            time.sleep(arguments.seconds)
            look(directory, agents, f"after {arguments.seconds:g} s of training")
            warm = [line.split()[0] for line in (directory / "hosts" / "local.log").read_text().splitlines() if " warm after " in line]
            print(
                f"{arguments.agents} agents up {(last - datetime.fromisoformat(warm[0])).total_seconds():.2f} s after the parent was warm"
            )
        finally:
            subprocess.run([*words, "down", directory.name, "--now"], cwd=REPOSITORY, check=False, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
