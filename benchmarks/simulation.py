"""How fast conversations are simulated: messages per second, ten thousand agents to agreement, and every mode under loss.

    python benchmarks/simulation.py            messages per second of 1,000 agents, then 10,000 agents to 1e-6 (some minutes)
    python benchmarks/simulation.py --table    all modes of averaging among 8 agents under 0, 10 and 30 % loss
    python benchmarks/simulation.py --quick    shows that it works, not how fast

Seconds are of the processor as well as of the clock: on a machine that does other things the two differ. The unit of small arrays is
the time of one subtraction of four numbers in numpy, of which a message costs a dozen: it measures the current speed of the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import timeit
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, median, table

from orchestrator.config.parsing.problems import Problems
from orchestrator.experiments.design.experiment_design import SimulationSettings
from orchestrator.experiments.running.averaging_simulation import Simulation, loaded
from protocols.averaging.rule_settings import ROOM
from protocols.runtime.component_registry import kinds

CONFIG = Path(__file__).parent.parent / "configs" / "4agents_ring.yaml"
REGULAR = "network.topology={kind: random_regular, degree: 4}"
JITTER = "network.links=[{id: wan, delay: {dist: uniform, min: 10ms, max: 50ms}}]"
LOSSY = "network.links=[{id: wan, delay: {dist: uniform, min: 10ms, max: 50ms}, loss: 0.1}]"
MODES = kinds(ROOM)
LOSSES = (0.0, 0.1, 0.3)
ROUNDS = 400


def simulation(*overrides: str, seed: int = 0, **request: Any) -> Simulation:
    """A simulation of averaging alone."""
    asked = SimulationSettings(episodes=0, **request)
    return Simulation(loaded(CONFIG, overrides, asked, seed).configuration, asked)


def unit() -> float:
    """Microseconds of one subtraction of four numbers."""
    return min(timeit.repeat("a - b", globals={"a": np.ones(4), "b": np.ones(4)}, number=20_000, repeat=5)) / 20_000 * 1e6


def speed(agents: int, rounds: int, repeats: int) -> str:
    """Messages per second, by mode and links."""
    rows = []
    for mode in ("mh", "pushsum"):
        for name, links in (("equal delays", ()), ("delays 10..50 ms", (JITTER,)), ("and 10 % loss", (LOSSY,))):
            clock, processor, units = [], [], []
            for seed in range(repeats):
                made = simulation(REGULAR, f"exchange.consensus.mode={mode}", *links, agents=agents, dimension=4, rounds=rounds, seed=seed)
                units.append(unit())
                begun = time.process_time()
                found = made.run()
                processor.append(found.events / (time.process_time() - begun))
                clock.append(found.events / found.real)
            rows.append([mode, name, median(processor, 0), median(clock, 0), f"{statistics.median(units):.2f}"])
    return table(["mode", "links", "messages/s of processor time", "messages/s of the clock", "a - b in us"], rows)


def large(agents: int) -> str:
    """A large population to agreement."""
    rows = []
    for mode in ("mh", "pushsum"):
        built = time.monotonic()
        made = simulation(REGULAR, f"exchange.consensus.mode={mode}", agents=agents, dimension=4)
        built = time.monotonic() - built
        before, begun = unit(), time.process_time()
        found = made.run()
        spent = time.process_time() - begun
        mean = f"{found.error:.1e}"
        metrics = [f"{found.rounds:.0f}", f"{found.predicted}", f"{found.events:,}", f"{spent:.0f}", f"{found.real:.0f}", f"{built:.0f}"]
        rows.append([mode, *metrics, mean, f"{before:.2f}"])
    head = ["mode", "rounds", "predicted", "messages", "processor s", "clock s", "to build s", "error of the mean", "a - b in us"]
    return table(head, rows)


def modes(seeds: int, rounds: int) -> str:
    """Every mode on a ring of 8, or where a ring has too few neighbours for it on a complete graph: how far agents are from each other, and
    their mean from that at the start, after so many rounds."""
    rows = []
    for mode in MODES:
        topology = "ring"
        try:
            _made(mode, topology, 0.0, 0, rounds)
        except Problems:
            topology = "complete"
        row = [mode, topology]
        for loss in LOSSES:
            found = [_made(mode, topology, loss, seed, rounds).run() for seed in range(seeds)]
            row.append(f"{max(o.disagreement for o in found):.0e} / {max(o.error for o in found):.0e}")
        rows.append(row)
    return table(["mode", "graph of 8", *(f"loss {100 * loss:.0f} %" for loss in LOSSES)], rows)


def _made(mode: str, topology: str, loss: float, seed: int, rounds: int) -> Simulation:
    links = f"network.links=[{{id: bad, delay: {{dist: uniform, min: 10ms, max: 50ms}}, loss: {loss}, duplicate: {{p: 0.1}}}}]"
    overrides = (f"network.topology.kind={topology}", f"exchange.consensus.mode={mode}", links)
    return simulation(*overrides, agents=8, dimension=8, rounds=rounds, tolerance=1e-15, seed=seed)


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and once")
    parser.add_argument("--table", action="store_true", help="all modes under loss")
    parser.add_argument("--repeats", type=int, default=3, help="of the speeds (default: 3)")
    parser.add_argument("--seeds", type=int, default=10, help="of the table (default: 10)")
    parser.add_argument("--large", action="store_true", help="the large population only")
    parser.add_argument("--agents", type=int, default=10_000, help="of the large population (default: 10000)")
    options = parser.parse_args()
    print(machine())
    if options.table:
        seeds, rounds = (1, 100) if options.quick else (options.seeds, ROUNDS)
        print(f"\n{rounds} rounds, delays 10..50 ms, 10 % repeated; disagreement / error of the mean, the worst of the seeds\n")
        print(modes(seeds, rounds))
        return
    agents, rounds, repeats = (100, 20, 1) if options.quick else (1000, 60, options.repeats)
    if not options.large:
        print(f"\n{agents} agents, random regular graph of degree 4, vectors of 4 numbers; median (min..max) of {repeats}\n")
        print(speed(agents, rounds, repeats))
        sys.stdout.flush()
    agents = 200 if options.quick else options.agents
    print(f"\n{agents:,} agents on such a graph to a disagreement of 1e-6\n")
    print(large(agents))


if __name__ == "__main__":
    main()
