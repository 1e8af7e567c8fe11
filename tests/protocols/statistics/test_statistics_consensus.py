"""Sums over agents by ledger and push-sum: exact under loss, delay, deaths and departures, and from checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.averaging_messages import Average, Leave, Share
from protocols.statistics.averaged_statistics import AveragedStatistics
from protocols.statistics.push_sum_statistics import PushSumStatistics
from protocols.statistics.statistics_consensus import IncompatibleStatistics, layout_of
from tests.protocols.statistics.statistics_worlds import SIZE, Ticks, graph_of, ledgers, summed, vectors

WORLDS = [("ring", 4), ("cycles", 16)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("kind", "n"), WORLDS)
def test_ledgers_are_equal_bit_for_bit_within_sixty_ticks(kind: str, n: int, seed: int) -> None:
    graph = graph_of(kind, n)
    agents = ledgers(graph, seed)
    s = vectors(sorted(graph), seed)
    for name, agent in agents.items():
        agent.publish(s[name], 1, 0.0)
    world = Ticks(agents, seed)
    for _ in range(60):
        world.tick()
    expected = np.zeros(SIZE)
    for name in sorted(graph):
        expected += s[name]
    for agent in agents.values():
        assert agent.versions == agents["agent-00"].versions
        assert agent.total().vector.tobytes() == expected.tobytes()
        assert agent.total()[1:] == (True, 0, n)


FEW_AND_MANY = [("ring", 4, seed) for seed in range(5)] + [
    pytest.param("cycles", 16, seed, marks=[pytest.mark.slow] if seed else []) for seed in range(5)
]


@pytest.mark.parametrize(("kind", "n", "seed"), FEW_AND_MANY)
def test_running_sums_are_exact_within_three_hundred_ticks(kind: str, n: int, seed: int) -> None:
    """With a tolerance below the precision of numbers, so that rounds never rest."""
    graph = graph_of(kind, n)
    agents = summed(graph, seed, tolerance=1e-15)
    s = vectors(sorted(graph), seed)
    for name, agent in agents.items():
        agent.publish(s[name], 1, 0.0)
    target = np.sum(list(s.values()), axis=0)
    world = Ticks(agents, seed)

    def error() -> float:
        return max(float(np.abs(agent.total().vector - target).max()) / n for agent in agents.values())

    for _ in range(300):
        world.tick()
    assert error() < 1e-6
    for _ in range(400):
        world.tick()
    assert error() <= 1e-12
    assert all(agent.epoch == 0 and agent.total().origins == n for agent in agents.values())


@pytest.mark.parametrize(("kind", "n", "seed"), FEW_AND_MANY)
def test_complete_is_never_said_too_early(kind: str, n: int, seed: int) -> None:
    graph = graph_of(kind, n)
    names = sorted(graph)
    agents = summed(graph, seed)
    s = vectors(names, seed)
    for name, agent in agents.items():
        agent.publish(s[name], 1, 0.0)
    world = Ticks(agents, seed)
    said: set[str] = set()
    for tick in range(500):
        world.tick()
        for name, agent in agents.items() if tick % 5 == 0 else ():
            total = agent.total()
            if total.complete:
                if total.origins == n:
                    said.add(name)
                there = [s[member] for place, member in enumerate(names) if agent.machine.model[SIZE + place] > 0]
                assert len(there) == total.origins > 1
                assert np.abs(total.vector - np.sum(there, axis=0)).max() < 2e-5
    assert said == set(graph)


@pytest.mark.parametrize(("kind", "n"), WORLDS)
def test_naive_averaging_under_the_same_faults_fails(kind: str, n: int) -> None:
    """The negative control: Metropolis-Hastings with the own value in the place of what was lost agrees, on something else."""
    graph = graph_of(kind, n)
    errors = []
    for seed in range(2):
        random = np.random.default_rng(seed)
        x = vectors(sorted(graph), seed)
        target = np.mean(list(x.values()), axis=0)
        flying: list[tuple[int, str, str, np.ndarray]] = []
        for tick in range(600):
            for name, weights in graph.items():
                if random.random() >= 0.7:
                    continue
                here = {src: value for due, src, dst, value in flying if dst == name and due <= tick}
                flying = [flight for flight in flying if flight[2] != name or flight[0] > tick]
                x[name] = x[name] + sum((weights[src] * (value - x[name]) for src, value in here.items()), np.zeros(SIZE))
                flying += [(tick + int(random.integers(1, 6)), name, dst, x[name]) for dst in weights if random.random() >= 0.3]
        errors.append(max(float(np.abs(value - target).max()) for value in x.values()))
        spread = max(float(np.abs(value - x["agent-00"]).max()) for value in x.values())
        assert spread < 1e-6, "they agree with each other: an agreement test alone does not find the fault"
    assert min(errors) > 0.02


def test_new_data_are_added_to_running_sums_as_they_are() -> None:
    graph = graph_of("ring", 5)
    agents = summed(graph, 3)
    s = vectors(sorted(graph), 3)
    world = Ticks(agents, 3)
    for name, agent in agents.items():
        agent.publish(s[name], 1, 0.0)
    for tick in range(200):
        world.tick()
        if tick % 20 == 10:
            name = f"agent-0{tick // 20 % 5}"
            s[name] = s[name] + np.random.default_rng(tick).normal(size=SIZE)
            agents[name].publish(s[name], tick, float(world.now))
    world.until_complete(5)
    target = np.sum(list(s.values()), axis=0)
    for agent in agents.values():
        assert np.abs(agent.total().vector - target).max() < 1e-5


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_death_ends_the_epoch_and_a_life_begins_with_its_own_sums(seed: int) -> None:
    graph = graph_of("ring", 5)
    agents = summed(graph, seed)
    s = vectors(sorted(graph), seed)
    for name, agent in agents.items():
        agent.publish(s[name], 1, 0.0)
    world = Ticks(agents, seed)
    for _ in range(60):
        world.tick()
    dead = "agent-02"
    del world.agents[dead]
    for _ in range(10):
        world.tick()
    for other in graph[dead]:  # one after the other is notified of it
        agents[other].peer_dead(dead, float(world.now))
        for _ in range(7):
            world.tick()
    survivors = {name: agent for name, agent in agents.items() if name != dead}
    world.until_complete(4)
    target = np.sum([s[name] for name in survivors], axis=0)
    for agent in survivors.values():
        assert agent.total().complete and agent.total().origins == 4 and agent.total().staleness == 1
        assert np.abs(agent.total().vector - target).max() < 1e-5
        assert agent.epoch == next(iter(survivors.values())).epoch >= 1
    reborn = PushSumStatistics(
        dead, sorted(graph), FixedNeighbourhood(graph[dead]), "basis", SIZE, np.random.default_rng(seed), 2, 1.0, 1.0
    )  # fmt: skip
    world.agents[dead] = reborn
    for other in graph[dead]:
        agents[other].peer_alive(dead, 2, float(world.now))
    reborn.publish(s[dead], 1, float(world.now))
    world.until_complete(5)
    for agent in world.agents.values():
        assert isinstance(agent, PushSumStatistics) and agent.epoch == agents["agent-00"].epoch
        assert agent.total().complete and np.abs(agent.total().vector - target - s[dead]).max() < 1e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_who_leaves_in_order_leaves_its_data_there(seed: int) -> None:
    graph = graph_of("ring", 5)
    agents = summed(graph, seed)
    s = vectors(sorted(graph), seed)
    for name, agent in agents.items():
        agent.publish(s[name], 1, 0.0)
    world = Ticks(agents, seed, loss=0.1)
    for _ in range(30):
        world.tick()
    leaver = agents["agent-02"]
    leaver._deadline = 300.0
    world.loss = 0.0  # a last word that is lost costs an epoch, and nothing else
    leaver.leave(float(world.now))
    while not leaver.left:
        world.tick()
        assert world.now < 330
    assert leaver.mass == 0.0 and leaver.counters["left.in_disorder"] == 0
    del world.agents["agent-02"]
    for _ in range(15):
        world.tick()
    for other in graph["agent-02"]:
        agents[other].peer_dead("agent-02", float(world.now))
    world.until_complete(5)
    target = np.sum(list(s.values()), axis=0)
    for agent in world.agents.values():
        assert isinstance(agent, PushSumStatistics) and agent.epoch == 0
        assert agent.total().complete and agent.total().origins == 5
        assert np.abs(agent.total().vector - target).max() < 1e-5


def test_sums_in_another_basis_are_refused_aloud() -> None:
    one = summed(graph_of("ring", 4), 0)["agent-00"]
    other = AveragedStatistics("agent-00", [], FixedNeighbourhood({"agent-01": 0.3}), "basis", SIZE)
    for machine, message in (
        (one, Share(round=0, layout=layout_of("another", 0))),
        (one, Leave(layout=layout_of("another", 3), ack=0)),
        (other, Average(round=0, layout=layout_of("another", 0))),
    ):
        machine.events()
        before = machine.counters["foreign_basis"]
        machine.receive("agent-01", message, {}, 0.0)  # type: ignore[arg-type]
        assert machine.counters["foreign_basis"] == before + 1
    assert other.events() == [IncompatibleStatistics("agent-01", "its statistics are in another basis than the own ones (basis)")]
    assert not other.concerns(Average(round=0, layout="0" * 64)) and not one.concerns(Share(round=0, layout="0" * 64))


@pytest.mark.parametrize("mode", ["pushsum", "mh"])
def test_all_go_on_together_from_a_checkpoint(mode: str) -> None:
    def run(interrupted: bool) -> list[bytes]:
        graph = graph_of("ring", 4)
        s = vectors(sorted(graph), 1)

        def make() -> dict[str, Any]:
            if mode == "pushsum":
                return summed(graph, 1)
            names = sorted(graph)
            return {n: AveragedStatistics(n, names, FixedNeighbourhood(graph[n]), "basis", SIZE, 1.0, 5.0) for n in names}

        agents = make()
        for name, agent in agents.items():
            agent.publish(s[name], 1, 0.0)
        world = Ticks(agents, 1, loss=0.0, wake=1.0)
        for _ in range(12):
            world.tick()
        for agent in agents.values():
            agent.settle(12.0)
        states = {name: agent.state() for name, agent in agents.items()}
        if interrupted:
            agents = make()
            for name, agent in agents.items():
                agent.load_state(states[name])
                assert agent.published == 1
            with pytest.raises(ValueError, match="lacks"):
                make()["agent-00"].load_state({})
        world = Ticks(agents, 2, loss=0.0, wake=1.0)
        for _ in range(120):
            world.tick()
        target = np.sum(list(s.values()), axis=0)
        if mode == "pushsum":
            assert all(np.abs(agent.total().vector - target).max() < 1e-5 for agent in agents.values())
        return [agent.total().vector.tobytes() for agent in agents.values()]

    assert len(run(True)) == len(run(False)) == 4
