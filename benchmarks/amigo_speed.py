"""Frames a second with learning on MiniGrid, as real runs, and where the time goes.

    python benchmarks/amigo_speed.py [--configs default published/default bebold] [--seconds 20] [--repeats 3]

A frame is one step of one copy. CPU seconds are those of the processes, so that they mean the same on a busy machine: `frames per CPU
second` is what one core would do alone, if the two processes took turns. The shares are those of the agent's main thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import cpu_seconds, machine, median, table

REPOSITORY = Path(__file__).resolve().parents[1]
WARM = 4000
"""frames before the first look: rollouts have been learnt from by then"""
DEADLINE = 300.0


def config_file(name: str) -> Path:
    """Path of a configuration of configs/amigo."""
    return REPOSITORY / "configs" / "amigo" / f"{name}.yaml"


@contextmanager
def running(config: str, overrides: list[str]) -> Iterator[Path]:
    """A run in the background, ended in the end; its directory."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "orchestrator", "--runs-dir", folder]
        given = [str(config_file(config)), "-d", "--name", "speed", *overrides]
        subprocess.run([*words, "up", *given], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
        try:
            yield Path(folder) / "speed"
        finally:
            subprocess.run([*words, "down", "speed", "--now"], cwd=REPOSITORY, check=False, stdout=subprocess.DEVNULL)


def rows(directory: Path, node: str, file: str = "metrics.jsonl") -> list[dict[str, float]]:
    """What a node has written so far; a line that is not whole yet is left."""
    path = directory / "nodes" / node / file
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def look(directory: Path, beyond: float) -> tuple[float, float, dict[str, float]]:
    """As soon as more than `beyond` frames were played: wall time, frames, CPU seconds by node."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        frames = max((row["value"] for row in rows(directory, "env-0") if row["name"] == "steps"), default=0.0)
        if frames > beyond:
            processes = json.loads((directory / "processes.json").read_text())
            return time.monotonic(), frames, {record["name"]: cpu_seconds(record["pid"]) for record in processes}
        time.sleep(0.05)
    raise SystemExit(f"no more than {beyond:,.0f} frames within {DEADLINE:g} s")


def measure(config: str, seconds: float) -> tuple[float, float, dict[str, float]]:
    """Frames a second, frames per CPU second, and shares of the agent's time."""
    overrides = ["clock=wall", "until={time: 10min}", "metrics.every=500ms", "evaluation.every=1000000", "evaluation.final_episodes=0"]
    with running(config, overrides) as directory:
        start, first, before = look(directory, WARM)
        time.sleep(seconds)
        end, last, after = look(directory, first)
        shares: dict[str, float] = {}
        used = [row for row in rows(directory, "agent-0", "usage.jsonl") if str(row["name"]).startswith("time.")]
        windows = len({row["t"] for row in used})  # a missing share counts as 0: most windows contain no update
        for row in used:
            shares[str(row["name"])] = shares.get(str(row["name"]), 0.0) + row["value"] / windows
    frames = last - first
    cpu = sum(after[name] - before[name] for name in before if name in after)
    return frames / (end - start), frames / cpu, shares


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=["default", "published/default", "bebold"], help="of configs/amigo")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    if missing := [name for name in given.configs if not config_file(name).is_file()]:
        parser.error(f"configs/amigo has no {', '.join(missing)}")
    print(machine(), flush=True)
    lines = []
    for config in given.configs:
        found = [measure(config, given.seconds) for _ in range(given.repeats)]
        shares = {name.removeprefix("time."): sum(each[2].get(name, 0.0) for each in found) / len(found) for name in found[0][2]}
        most = ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1])[:5])
        lines.append([config, median([each[0] for each in found], 0), median([each[1] for each in found], 0), most])
    print(table(["configuration", "frames/s", "frames per CPU second", "the agent's time"], lines))


if __name__ == "__main__":
    main()
