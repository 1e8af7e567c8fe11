"""A run beside busy processes: how fast does it step, and is any running process declared dead?

    python benchmarks/crowded.py [--busy 40] [--seconds 60] [--quick]

Four agents train alone for a third of the time, then beside `--busy` processes that compute without pause, at the same priority. A death
verdict (`node.dead`, `host.lost`, `node.restart`) is false, since no process ends. Exit code 1 where there is any, or the run failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measured_run import MeasuredRun
from benchmarks.measuring import machine, table

_VERDICTS = ("node.dead", "node.lost", "host.lost", "node.restart")
_COUNTED = ("node.suspect", "node.starved")
_CHANGES = ("agents.count=4", "environment.copies=64", "until.time=2h", "evaluation={every: 1000000, episodes: 8, final_episodes: 8}")


def main() -> int:
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=60.0, help="beside the busy processes")
    parser.add_argument("--quick", action="store_true", help="8 busy processes for 10 s")
    arguments = parser.parse_args()
    busy, seconds = (8, 10.0) if arguments.quick else (arguments.busy, arguments.seconds)
    print(machine())
    rows, crowd = [], []
    with MeasuredRun(_CHANGES) as run:
        try:
            for label, count, length in (("alone", 0, seconds / 3), (f"{busy} busy processes", busy, seconds)):
                crowd += [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
                seen, steps, began = len(run.events()), run.steps(), time.monotonic()
                while time.monotonic() - began < length and run.code is None:
                    time.sleep(1.0)
                elapsed = time.monotonic() - began
                codes = Counter(event.get("code") for event in run.events()[seen:])
                rows.append((label, (run.steps() - steps) / elapsed, [codes[code] for code in (*_VERDICTS, *_COUNTED)]))
        finally:
            for process in crowd:
                process.kill()
                process.wait(10)
        ended = run.code
    print(f"4 agents, 64 copies; {seconds:g} s beside the busy processes; counts are of events")
    head = ("", "steps/s", *_VERDICTS, *_COUNTED)
    print(table(head, [[label, f"{rate:,.0f}", *map(str, counts)] for label, rate, counts in rows]))
    verdicts = sum(sum(counts[: len(_VERDICTS)]) for _, _, counts in rows)
    print(f"false death verdicts: {verdicts}" + ("" if ended is None else f"; the run ended with {ended}"))
    return int(verdicts > 0 or ended is not None)


if __name__ == "__main__":
    sys.exit(main())
