"""How fast conversations are simulated: messages per second, ten thousand agents to agreement, and every mode under loss.

    python benchmarks/simulation.py            messages per second of 1,000 agents, then 10,000 agents to 1e-6 (some minutes)
    python benchmarks/simulation.py --arrays   10,000 and 100,000 agents as arrays, and 400 agents in both forms
    python benchmarks/simulation.py --table    all modes of averaging among 8 agents under 0, 10 and 30 % loss
    python benchmarks/simulation.py --quick    shows that it works, not how fast (with --arrays and --table too)

Seconds are of the processor as well as of the clock: on a machine that does other things the two differ. The unit of small arrays is
the time of one subtraction of four numbers in numpy, of which a message costs a dozen: it measures the current speed of the machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import timeit
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as `orchestrate simulate` does, before numpy is loaded

import numpy as np
from measuring import machine, median, table

from orchestrator.config.parsing.problems import Problems
from orchestrator.experiments.design.experiment_design import SimulationSettings
from orchestrator.experiments.running.array_simulation import simulation_of
from orchestrator.experiments.running.averaging_simulation import AveragingSimulation, loaded
from protocols.averaging.rule_settings import ROOM
from protocols.runtime.component_registry import kinds

CONFIG = Path(__file__).parent.parent / "configs" / "4agents_ring.yaml"
REGULAR = "network.topology={kind: random_regular, degree: 4}"
JITTER = "network.links=[{id: wan, delay: {dist: uniform, min: 10ms, max: 50ms}}]"
LOSSY = "network.links=[{id: wan, delay: {dist: uniform, min: 10ms, max: 50ms}, loss: 0.1}]"
MODES = kinds(ROOM)
LOSSES = (0.0, 0.1, 0.3)
ROUNDS = 400


def simulation(*overrides: str, arrays: bool = False, seed: int = 0, **request: Any) -> AveragingSimulation:
    """A simulation of averaging alone, message by message or as arrays."""
    asked = SimulationSettings(episodes=0, arrays=arrays, **request)
    return simulation_of(loaded(CONFIG, overrides, asked, seed).configuration, asked)


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


def as_arrays(sizes: Sequence[int], repeats: int) -> str:
    """Large populations to agreement as arrays."""
    rows = []
    for agents, mode, loss in product(sizes, ("mh", "pushsum"), (0.0, 0.1)):
        build, spent, rate = [], [], []
        for seed in range(repeats):
            begun = time.process_time()
            links = f"network.links=[{{id: bad, delay: 10ms, loss: {loss}}}]"
            made = simulation(REGULAR, f"exchange.consensus.mode={mode}", links, arrays=True, agents=agents, dimension=4, seed=seed)
            _ = made.predicted
            build.append(time.process_time() - begun)
            begun = time.process_time()
            found = made.run()
            spent.append(time.process_time() - begun)
            rate.append(found.events / spent[-1])
        last = [f"{found.rounds:.0f}", f"{found.events:,}", f"{found.error:.0e}"]
        rows.append([f"{agents:,}", mode, f"{100 * loss:.0f} %", median(build, 1), median(spent, 1), median(rate, 0), *last])
    head = ["agents", "mode", "loss", "build CPU s", "simulate CPU s", "messages per CPU s", "rounds", "messages", "error of the mean"]
    return table(head, rows)


def both_forms(agents: int, repeats: int) -> str:
    """Rounds to agreement message by message, where rounds overlap under losses, and in synchronous rounds as arrays; same graphs, vectors
    and draws."""
    rows = []
    for mode, loss in product(("mh", "pushsum"), LOSSES):
        row = [mode, f"{100 * loss:.0f} %"]
        for arrays in (False, True):
            links = f"network.links=[{{id: bad, delay: 10ms, loss: {loss}}}]"
            found, rate = [], []
            for seed in range(repeats):
                made = simulation(REGULAR, f"exchange.consensus.mode={mode}", links, arrays=arrays, agents=agents, dimension=4, seed=seed)
                begun = time.process_time()
                found.append(made.run())
                rate.append(found[-1].events / (time.process_time() - begun))
            error = f"{statistics.median(outcome.error for outcome in found):.0e}"
            row += [median([outcome.rounds for outcome in found], 0), error, median(rate, 0)]
        rows.append(row)
    head = ["mode", "loss", *(f"{what} ({form})" for form in ("messages", "arrays") for what in ("rounds", "error", "messages per CPU s"))]
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


def _made(mode: str, topology: str, loss: float, seed: int, rounds: int) -> AveragingSimulation:
    links = f"network.links=[{{id: bad, delay: {{dist: uniform, min: 10ms, max: 50ms}}, loss: {loss}, duplicate: {{p: 0.1}}}}]"
    overrides = (f"network.topology.kind={topology}", f"exchange.consensus.mode={mode}", links)
    return simulation(*overrides, agents=8, dimension=8, rounds=rounds, tolerance=1e-15, seed=seed)


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and once")
    parser.add_argument("--table", action="store_true", help="all modes under loss")
    parser.add_argument("--arrays", action="store_true", help="large populations as arrays")
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
    if options.arrays:
        sizes, agents, repeats = ([500], 100, 1) if options.quick else ([10_000, 100_000], 400, options.repeats)
        print(f"\nrandom regular graph of degree 4, vectors of 4 numbers, to a disagreement of 1e-6; median (min..max) of {repeats}\n")
        print(as_arrays(sizes, repeats))
        sys.stdout.flush()
        print(f"\n{agents} agents on such a graph in both forms\n")
        print(both_forms(agents, repeats))
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
