"""What one refresh of the Gaussian-process world model costs an agent: CPU milliseconds on one thread.

    python benchmarks/gp_refresh.py [--features 256] [--agents 5] [--transitions 250] [--repeats 20]

A refresh absorbs the own transitions since the last one, packs the own statistics, checks and adds those of all agents in order, and
computes the posterior; every fourth time it learns the kernel parameters from the sum before. Predictions of 256 rows are measured besides.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from measuring import machine, median, table

from agent_node.contracts import ModelData
from agent_node.session.observation_features import Features
from agent_node.world_models.gp.gp_model import GPModel
from agent_node.world_models.settings import GPSettings
from protocols.spaces.layout import Layout

PLANE = Features(Layout(shape=[2], low=[-1.0, -1.0], high=[1.0, 1.0]), 1)


def walk(random: np.random.Generator, n: int) -> ModelData:
    """Moves in a square, on ground that is soft in places."""
    position = random.uniform(-10, 10, (n, 2)).astype(np.float32)
    action = random.uniform(-1, 1, (n, 2)).astype(np.float32)
    following = np.clip(position + (0.7 + 0.3 * np.sin(position[:, :1] / 3)) * action, -10, 10).astype(np.float32)
    nothing = np.zeros(n, np.float32)
    return ModelData(position[:, None], action, following, nothing, nothing)


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--agents", type=int, default=5)
    parser.add_argument("--transitions", type=int, default=250, help="own ones between two refreshes")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(), end="\n\n")

    settings = GPSettings(bounds=[(-10, 10)], features=arguments.features, optimise_every=0)
    random = np.random.default_rng(0)
    model = GPModel(settings, PLANE, 0, 0)
    learner = GPModel(settings.model_copy(update={"optimise_every": 1}), PLANE, 0, 0)
    others = []
    for _ in range(arguments.agents - 1):
        other = GPModel(settings, PLANE, 0, 0)
        other.absorb(walk(random, 1000))
        others.append(other.statistics())
    query = walk(random, 256)
    spent: dict[str, list[float]] = {}

    def measure(name: str, work: Callable[[], object]) -> None:
        spent.setdefault(name, []).append(milliseconds(work))

    for repeat in range(arguments.repeats + 1):
        data = walk(random, arguments.transitions)
        measure("absorb", lambda data=data: model.absorb(data))  # type: ignore[misc]
        vectors: list[np.ndarray] = []
        measure("pack own", lambda: vectors.append(model.statistics()))  # noqa: B023
        measure("check others", lambda: [model.check(other) for other in others])
        total = np.zeros_like(vectors[0])

        def add(total: np.ndarray = total, own: np.ndarray = vectors[0]) -> None:
            for vector in [own, *others]:
                total += vector
            model.use(total, True)

        measure("add and unpack", add)
        measure("posterior and evidence", model.refit)
        learner.use(total, True)
        measure("the same, kernel parameters learnt", learner.refit)
        measure("predict 256 rows", lambda: learner.predict(query.observation, query.action))
        if repeat == 0:  # imports and caches
            spent.clear()

    every = ("absorb", "pack own", "check others", "add and unpack", "posterior and evidence")
    plain = [sum(spent[name][k] for name in every) for k in range(arguments.repeats)]
    learning = [
        whole - a + b
        for whole, a, b in zip(plain, spent["posterior and evidence"], spent["the same, kernel parameters learnt"], strict=True)
    ]
    mean = 0.75 * statistics.median(plain) + 0.25 * statistics.median(learning)
    rows = [[name, median(values)] for name, values in spent.items()]
    rows += [
        ["refresh without learning", median(plain)],
        ["refresh with learning", median(learning)],
        ["mean of four refreshes", f"{mean:.2f}"],
    ]
    print(f"{arguments.features} features, {arguments.agents} agents; CPU ms, median (min..max) of {arguments.repeats}\n")
    print(table(["part", "CPU ms"], rows))


if __name__ == "__main__":
    main()
