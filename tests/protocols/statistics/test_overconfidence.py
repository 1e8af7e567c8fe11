"""Who is too sure of itself: averages that are multiplied, and never a part of a ledger."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from protocols.averaging.averager import FixedNeighbourhood
from protocols.statistics.averaged_statistics import AveragedStatistics
from tests.protocols.statistics.statistics_worlds import Ticks, graph_of, ledgers


def test_multiplied_averages_are_too_sure_and_parts_of_a_ledger_never_are() -> None:
    """N = 16 in a ring, Bayesian linear model on radial features, prior I, noise 0.1: sigma on the agent's own inputs relative to that of
    all data. Averaging by N x before it has mixed counts the own data N times."""
    n, m, noise = 16, 20, 0.1
    graph = graph_of("ring", n)
    random = np.random.default_rng(0)
    inputs = {name: random.normal(0.8 * i, 1.5, 40) for i, name in enumerate(sorted(graph))}
    centres = np.linspace(-4, 16, m)

    def features(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-0.5 * np.square((x[:, None] - centres) / 1.2)))

    upper = np.triu_indices(m)
    statistics = {name: (features(x).T @ features(x))[upper] for name, x in inputs.items()}

    def sigma(vector: np.ndarray, x: np.ndarray) -> np.ndarray:
        gram = np.zeros((m, m))
        gram[upper] = vector
        gram = gram + np.triu(gram, 1).T
        root = np.linalg.cholesky(np.eye(m) + gram / noise**2)
        return np.asarray(np.linalg.norm(np.linalg.solve(root, features(x).T), axis=0))

    def ratio(vectors_: Mapping[str, np.ndarray]) -> float:
        return float(np.mean([np.mean(sigma(v, inputs[name]) / sigma(central, inputs[name])) for name, v in vectors_.items()]))

    central = np.sum([statistics[name] for name in sorted(graph)], axis=0)
    assert ratio({name: n * statistics[name] for name in graph}) < 0.8
    agents = ledgers(graph, 0, len(central))
    for name, agent in agents.items():
        agent.publish(statistics[name], 40, 0.0)
    world = Ticks(agents, 0)
    ratios = [ratio({name: agent.total().vector for name, agent in agents.items()})]
    assert ratios[0] > 1.05
    for tick in range(250):
        world.tick()
        if tick % 10:
            continue
        smallest = min(
            float((sigma(agent.total().vector, inputs[name]) / sigma(central, inputs[name])).min()) for name, agent in agents.items()
        )
        assert smallest > 1 - 1e-9, "a part of the data is nowhere more certain than all of it"
    ratios.append(ratio({name: agent.total().vector for name, agent in agents.items()}))
    assert ratios[1] == pytest.approx(1.0, abs=1e-9)
    averaged = {
        name: AveragedStatistics(name, sorted(graph), FixedNeighbourhood(graph[name]), "basis", len(central), 1.0, 10.0) for name in graph
    }
    for name, one in averaged.items():
        one.publish(statistics[name], 40, 0.0)
    lockstep = Ticks(averaged, 0, loss=0.0, wake=1.0)
    seen = []
    for _ in range(30):
        lockstep.tick()
        seen.append(ratio({name: one.total().vector for name, one in averaged.items()}))
        assert not any(one.total().complete for one in averaged.values())
    assert min(seen) < 0.97, "which is why its variance is not to be used before it is complete"
