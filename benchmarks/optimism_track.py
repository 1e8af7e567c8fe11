"""What optimism and the sharing of statistics are worth on a track whose only reward is far away (defined in `track.py`), without networks.

    python benchmarks/optimism_track.py            # 5 seeds a cell, some minutes on one core
    python benchmarks/optimism_track.py --quick    # 1 seed, and two settings of the world model

Three tables: one agent under each kind of optimism; four agents, whose statistics are shared through ledgers or not shared; and how the
first hangs on the settings of the world model.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from measuring import machine, table
from track import COST, EPISODES, LINE, TEAM, best, explore, settings_of

from agent_node.world_models.gp.gp_model import GPModel

KINDS = (
    ("greedy", 0.0, COST),
    ("hallucination", 1.0, COST),
    ("hallucination", 2.0, COST),
    ("bonus", 0.05, COST),
    ("bonus", 0.05, 0.0),
    ("bonus", 0.2, COST),
    ("bonus", 1.0, COST),
)
SENSITIVITY = {
    "as above": settings_of(),
    "length-scale of place x 0.7": settings_of(0.084),
    "length-scale of place x 1.4": settings_of(0.168),
    "length-scale of action x 0.7": settings_of(0.12, 0.84),
    "length-scale of action x 1.4": settings_of(0.12, 1.68),
    "noise variance 1e-4": settings_of(noise_variance=1e-4),
    "noise variance 1e-2": settings_of(noise_variance=1e-2),
    "signal variance 0.25": settings_of(signal_variance=0.25),
    "signal variance 4": settings_of(signal_variance=4.0),
    "linear part of variance 1": settings_of(linear_variance=1.0),
    "128 features": settings_of(features=128),
    "64 features": settings_of(features=64),
    "kernel parameters learnt": settings_of(optimise_every=4),
}


def firsts(numbers: Sequence[int | None]) -> str:
    """`median (min..max)` over the seeds that got there, and how many did where not all."""
    known = [number for number in numbers if number is not None]
    if not known:
        return "never"
    text = f"{statistics.median(known):g} ({min(known)}..{max(known)})"
    return text if len(known) == len(numbers) else f"{text}, {len(known)} of {len(numbers)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 seed, and two settings of the world model")
    quick = cast(bool, parser.parse_args().quick)
    seeds, sensitivity = range(1 if quick else 5), list(SENSITIVITY.items())[: 2 if quick else None]
    torch.set_num_threads(1)
    print(machine(), end="\n\n")

    rows = []
    for kind, strength, cost in KINDS:
        runs = [explore(kind, strength, cost=cost, seed=seed) for seed in seeds]
        last = np.mean([run.mean(EPISODES) for run in runs])
        rows.append([kind, f"{strength:g}", f"{cost:g}", firsts([run.all for run in runs]), f"{last:.2f}", f"{best(0.0, cost):.2f}"])
    print(f"One agent from 0, {len(seeds)} seeds\n")
    head = ["optimism", "weight or beta", "cost", "first paid episode", f"return of episode {EPISODES}", "greatest"]
    print(table(head, rows), end="\n\n", flush=True)

    rows, most = [], np.mean([best(start) for start in TEAM])
    for kind, strength in (("greedy", 0.0), ("hallucination", 1.0), ("bonus", 0.2), ("bonus", 1.0)):
        for shared in (True, False):
            runs = [explore(kind, strength, TEAM, shared, seed=seed) for seed in seeds]
            returns = [f"{np.mean([run.mean(episode) for run in runs]):.1f}" for episode in (4, 6, 9, 12, 15)]
            label = f"{kind} {strength:g}" if strength else kind
            rows.append([label, "shared" if shared else "isolated", firsts([run.all for run in runs]), *returns])
    print(f"Four agents from {', '.join(f'{start:g}' for start in TEAM)}; mean returns, the greatest is {most:.2f}\n")
    print(table(["optimism", "models", "all paid by", *(f"episode {n}" for n in (4, 6, 9, 12, 15))], rows), end="\n\n", flush=True)

    rows = []
    for label, settings in sensitivity:
        model = GPModel(settings, LINE, 0, 0)
        cells = [
            firsts([explore(kind, strength, cost=cost, seed=seed, settings=settings).all for seed in seeds])
            for kind, strength, cost in KINDS
        ]
        rows.append([label, f"{float(model.basis.missing(model.parameters)):.0e}", *cells])
    print("First paid episode of one agent with other settings of the world model; lacking: prior variance beyond the features\n")
    print(table(["settings", "lacking", *(f"{kind} {strength:g}, cost {cost:g}" for kind, strength, cost in KINDS)], rows))


if __name__ == "__main__":
    main()
