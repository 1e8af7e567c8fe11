"""How averaging stands a death and a straggler: round times before and after, the returned agent's weight, the others' rate.

    python benchmarks/recovery.py [--agents 4] [--period 0.05] [--quick]

Real processes in a ring, push-sum (`benchmarks/ring.py`); `period` is the work that an agent does between two rounds. With --quick all
other times are halved.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.ring import Options, Ring, disagreement, rate, round_time, wait


def death(directory: Path, agents: int, period: float, scale: float) -> None:
    """Kill one, bring it back, and print what became of the rounds; all times but the period are multiplied by `scale`."""
    victim = f"agent-{agents // 2}"
    with Ring(directory, agents, Options(period=period)) as ring:
        others = [name for name in ring.names if name != victim]
        wait("a quiet start", lambda: time.time() > ring.began + 4.0 * scale, 60)
        died = ring.kill(victim)
        wait("some time without it", lambda: time.time() > died + 3.0 * scale, 30)
        lines = {name: ring.rounds(name) for name in others}
        print(f"{victim} of {agents} killed; round time of the others, mean over them [ms]")
        for begin, end in ((-2.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 3.0)):
            begin, end = begin * scale, end * scale
            mean = statistics.fmean(round_time(lines[name], died + begin, died + end) for name in others)
            words = f"{begin:g} to {end:g} s after" if end else f"{-begin:g} s before"
            print(f"  {words:<18} {1000 * mean:8.1f}")
        longest = max(line["took"] for found in lines.values() for line in found if line["t"] > died - 0.5)
        print(f"  {'longest round':<18} {1000 * longest:8.1f}")
        ring.bring_back(victim)
        found = wait("rounds of the successor", lambda: r if len(r := ring.rounds(victim)) > 20 else None, 60)
        print(f"weight of the returned {victim} by its rounds")
        print("  " + "  ".join(f"{k}: {found[k - 1]['w']:.3f}" for k in (1, 2, 3, 5, 10, 20)))
        first = next((k for k, line in enumerate(found, 1) if line["w"] > 0.1), math.inf)
        print(f"  above 0.1 from round {first} on")
        wait("agreement", lambda: disagreement([ring.rounds(name)[-1]["z"] for name in ring.names]) < 1e-6, 60)
        print(f"  all agree to 1e-6 after {len(ring.rounds(victim))} of its rounds")


def straggler(directory: Path, agents: int, period: float, factor: float, scale: float) -> None:
    """Slow down one agent for 8 s and print the rate of all; all times but the period are multiplied by `scale`."""
    slow = {"target": "agent-1", "factor": factor}
    event: dict[str, Any] = {"id": "slow", "at": {"time": f"{4 * scale:g}s"}, "for": f"{8 * scale:g}s", "straggler": slow}
    with Ring(directory, agents, Options(period=period), {"events": [event]}) as ring:
        wait("the straggler is over", lambda: time.time() > ring.began + 15.0 * scale, 60)
        spans = (("before", 1.0, 4.0), (f"first {2 * scale:g} s", 4.0, 6.0), ("then", 7.0, 12.0), ("after", 13.0, 15.0))
        print(f"agent-1 takes {factor:g} times as long; rounds per second")
        print(f"  {'':<10}" + "".join(f"{words:>12}" for words, _, _ in spans) + f"{'then/before':>14}")
        for name in ring.names:
            lines = ring.rounds(name)
            rates = [rate(lines, ring.began + begin * scale, ring.began + end * scale) for _, begin, end in spans]
            print(f"  {name:<10}" + "".join(f"{value:12.1f}" for value in rates) + f"{rates[2] / rates[0]:14.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--period", type=float, default=0.05, help="seconds of work between two rounds")
    parser.add_argument("--factor", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true", help="half of the time: shows that it works")
    arguments = parser.parse_args()
    scale = 0.5 if arguments.quick else 1.0
    with tempfile.TemporaryDirectory() as directory:
        death(Path(directory) / "death", arguments.agents, arguments.period, scale)
        straggler(Path(directory) / "straggler", arguments.agents, arguments.period, arguments.factor, scale)


if __name__ == "__main__":
    main()
