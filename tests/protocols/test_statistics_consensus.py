"""Sums over agents, by ledger, push-sum and synchronous averaging: rates, exactness, faults, and who is too sure of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, cos, log, pi
from typing import Any

import numpy as np
import pytest

from protocols.codec import decode, encode
from protocols.consensus.averager import FixedSurroundings
from protocols.consensus.epochs import layout_of
from protocols.consensus.ledger import Ledger
from protocols.consensus.rounds import AveragedStatistics
from protocols.consensus.statistics import Foreign, StatisticsConsensus
from protocols.consensus.sums import SummedStatistics
from protocols.messages import Average, Leave, Share
from protocols.topology import TopologySettings, build, metropolis_weights, mixing_weights

SIZE = 12


def graph_of(kind: str, n: int) -> dict[str, dict[str, float]]:
    """Neighbours with their Metropolis-Hastings weights."""
    names = [f"agent-{i:02d}" for i in range(n)]
    if kind == "cycles":  # two random Hamiltonian cycles
        order = list(np.random.default_rng(5).permutation(n))
        pairs = {frozenset((names[i], names[(i + 1) % n])) for i in range(n)}
        pairs |= {frozenset((names[order[i]], names[order[(i + 1) % n]])) for i in range(n)}
        edges = [tuple(sorted(pair)) for pair in sorted(map(sorted, pairs))]
        weights = mixing_weights(names, edges)  # type: ignore[arg-type]
    else:
        weights = metropolis_weights(build(TopologySettings(kind=kind), names))
    return {a: {b: float(weights[i, j]) for j, b in enumerate(names) if i != j and weights[i, j] > 0} for i, a in enumerate(names)}


def vectors(names: list[str], seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.normal(size=SIZE) for name in names}


# --- synchronous averaging (T2, T3) -------------------------------------------------------------------------------------------------

TABLE = {
    "ring": {4: (0.333, 13), 5: (0.539, 22), 8: (0.805, 64), 16: (0.949, 265), 32: (0.987, 1072), 64: (0.997, 4297)},
    "path": {4: (0.805, 64), 5: (0.873, 101), 8: (0.949, 265), 16: (0.987, 1072), 32: (0.997, 4297), 64: (0.9992, 17197)},
    "star": {4: (0.750, 48), 5: (0.800, 62), 8: (0.875, 103), 16: (0.938, 214), 32: (0.969, 435), 64: (0.984, 877)},
}
EXACT: dict[str, Callable[[int], float]] = {
    "ring": lambda n: max(abs(1 / 3 + 2 / 3 * cos(2 * pi * k / n)) for k in range(1, n)),
    "path": lambda n: 1 / 3 + 2 / 3 * cos(pi / n),
    "star": lambda n: 1 - 1 / n,
}


def slem(kind: str, n: int) -> float:
    """Second largest modulus of the eigenvalues of W."""
    weights = metropolis_weights(build(TopologySettings(kind=kind), [f"agent-{i}" for i in range(n)]))
    return float(np.sort(np.abs(np.linalg.eigvalsh(weights)))[-2])


@pytest.mark.parametrize("kind", TABLE)
def test_the_table_of_rates(kind: str) -> None:
    for n, (printed, rounds) in TABLE[kind].items():
        rho = slem(kind, n)
        assert rho == pytest.approx(EXACT[kind](n), abs=1e-9)
        assert rho == pytest.approx(printed, abs=5.1e-4), "as many digits as the table prints"
        assert abs(ceil(log(1e-6) / log(rho)) - rounds) <= 1


class Lockstep:
    """Agents that average in step: one round a second."""

    def __init__(self, kind: str, n: int, seed: int = 0, **more: Any) -> None:
        graph = graph_of(kind, n)
        self.names = sorted(graph)
        self.s = vectors(self.names, seed)
        self.sum = np.sum(list(self.s.values()), axis=0)
        self.agents = {
            name: AveragedStatistics(name, self.names, FixedSurroundings(graph[name]), "basis", SIZE, 1.0, 10.0, **more)
            for name in self.names
        }
        self.now = 0.0
        self.lost: set[tuple[str, str]] = set()
        for name, agent in self.agents.items():
            agent.publish(self.s[name], 1, 0.0)
        self._carry()

    def round(self) -> None:
        self.now += 1.0
        for agent in self.agents.values():
            agent.tick(self.now)
        self._carry()

    def error(self, name: str) -> float:
        """Largest error of N x for the true N, as long as N is not known yet."""
        agent = self.agents[name]
        return float(np.abs(len(self.names) * agent._x[:SIZE] - self.sum).max())

    def errors(self) -> float:
        return max(map(self.error, self.names))

    def _carry(self) -> None:
        while sends := [(name, send) for name, agent in self.agents.items() for send in agent.outgoing()]:
            for name, send in sends:
                if (name, send.dst) not in self.lost:
                    message, arrays = decode([bytes(part) for part in encode(send.message, send.arrays)])
                    self.agents[send.dst].receive(name, message, arrays, self.now)


@pytest.mark.parametrize("kind", ["ring", "path", "star"])
def test_errors_fall_as_the_second_eigenvalue_says(kind: str) -> None:
    world = Lockstep(kind, 8, tolerance=1e-15, most=400)
    curve = []
    for _ in range(100):
        curve.append(world.errors())
        world.round()
    slope = np.polyfit(np.arange(40, 100), np.log(curve[40:100]), 1)[0]
    assert slope == pytest.approx(log(slem(kind, 8)), rel=0.02)


def test_the_hub_of_a_star_is_exact_after_one_round_and_its_leaves_are_not() -> None:
    world = Lockstep("star", 5)
    assert world.error("agent-00") < 1e-12
    assert min(world.error(name) for name in world.names[1:]) > 1e-2


def test_four_in_a_ring_are_exact_to_the_promised_digits() -> None:
    world = Lockstep("ring", 4, tolerance=1e-15, most=400)
    assert all(weight == pytest.approx(1 / 3) for row in graph_of("ring", 4).values() for weight in row.values())
    bounds = {8: 1e-3, 16: 1e-6, 24: 1e-10}
    for k in range(1, 25):
        if k in bounds:
            assert world.errors() / 4 < bounds[k], k
        world.round()


@pytest.mark.parametrize("kind", ["ring", "star", "path"])
def test_all_stop_in_the_same_round_once_they_agree_and_not_before(kind: str) -> None:
    world = Lockstep(kind, 8, tolerance=1e-6)
    complete = dict.fromkeys(world.names, 0)
    rounds = 1
    while not all(complete.values()):
        for name, agent in world.agents.items():
            total = agent.total()
            if total.complete and not complete[name]:
                complete[name] = rounds
                assert np.abs(total.vector - world.sum).max() < 1e-4 and total.origins == 8 and total.staleness == 0
        world.round()
        rounds += 1
        assert rounds < 600
    assert len(set(complete.values())) == 1, "everybody compares the same numbers"
    rate = log(slem(kind, 8))  # sums are N times as far apart as means; what was checked was so 7 rounds before, and is checked every 7
    assert 0.7 * log(1e-6) / rate < complete["agent-00"] < log(1e-6 / (8 * 4)) / rate + 2 * 7
    before = {name: agent.total().vector for name, agent in world.agents.items()}
    for _ in range(5):
        world.round()
    assert all(agent.rounds == 0 for agent in world.agents.values()), "then there is quiet"
    world.agents["agent-03"].publish(2 * world.s["agent-03"], 2, world.now)
    world._carry()
    assert not any(agent.total().complete for agent in world.agents.values()), "one publishes, and takes all others along"
    for _ in range(600):
        world.round()
    total = world.agents["agent-07"].total()
    assert total.complete and np.abs(total.vector - before["agent-07"] - world.s["agent-03"]).max() < 1e-3


def test_a_session_that_misses_a_vector_is_never_said_to_be_complete() -> None:
    world = Lockstep("ring", 5, most=60)
    world.lost = {("agent-01", "agent-02")}
    world.round()
    world.lost = set()
    for _ in range(800):
        world.round()
        assert not any(agent.total().complete for agent in world.agents.values())
        if all(agent.rounds == 0 for agent in world.agents.values()):
            break
    assert all(agent.counters["sessions.given_up"] == 1 for agent in world.agents.values())
    assert sum(agent.counters["sessions.broken"] for agent in world.agents.values()) >= 1
    for name, agent in world.agents.items():
        agent.publish(world.s[name], 2, world.now)
    for _ in range(200):
        world.round()
    assert all(agent.total().complete for agent in world.agents.values()), "the next one is whole"
    assert world.errors() < 1e-4


# --- asynchronous, with faults (T4) -------------------------------------------------------------------------------------------------


class Ticks:
    """Agents wake at random moments (probability 0.7 a tick); messages take 1 to 5 ticks, are lost, and overtake each other."""

    def __init__(self, agents: Mapping[str, StatisticsConsensus], seed: int, loss: float = 0.3, wake: float = 0.7) -> None:
        self.agents = dict(agents)
        self.now = 0
        self.loss, self.wake = loss, wake
        self.cut: Callable[[str, str], bool] = lambda src, dst: False
        self._random = np.random.default_rng([seed, 77])
        self._flying: list[tuple[int, str, str, Any, Any]] = []

    def tick(self) -> None:
        self.now += 1
        for name, agent in self.agents.items():
            if self._random.random() >= self.wake:
                continue
            here = [flight for flight in self._flying if flight[2] == name and flight[0] <= self.now]
            self._flying = [flight for flight in self._flying if flight[2] != name or flight[0] > self.now]
            for _, src, _, message, arrays in here:
                agent.receive(src, message, arrays, float(self.now))
            agent.tick(float(self.now))
            for send in agent.outgoing():
                if self._random.random() >= self.loss and not self.cut(name, send.dst):
                    arrival = self.now + int(self._random.integers(1, 6))
                    self._flying.append((arrival, name, send.dst, send.message, send.arrays))

    def until_complete(self, origins: int) -> None:
        """Let time pass until everybody has heard that all agree."""
        for _ in range(100):
            for _ in range(10):
                self.tick()
            totals = [agent.total() for agent in self.agents.values()]
            if all(total.complete and total.origins == origins for total in totals):
                return
        raise AssertionError("they never agree")


def ledgers(graph: Mapping[str, Mapping[str, float]], seed: int, size: int = SIZE) -> dict[str, Ledger]:
    return {
        name: Ledger(name, sorted(graph), list(graph[name]), "basis", size, np.random.default_rng([seed, i]), every=1.0, idle=10.0)
        for i, name in enumerate(sorted(graph))
    }


def summed(graph: Mapping[str, Mapping[str, float]], seed: int, **more: Any) -> dict[str, SummedStatistics]:
    return {
        name: SummedStatistics(
            name, sorted(graph), FixedSurroundings(graph[name]), "basis", SIZE, np.random.default_rng([seed, i]), 1, 1.0, 1.0, **more
        )
        for i, name in enumerate(sorted(graph))
    }  # fmt: skip


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
        assert agent.versions == agents["agent-00"].versions and agent.digest == agents["agent-00"].digest
        assert agent.total().vector.tobytes() == expected.tobytes()
        assert agent.total()[1:] == (True, 0, n)


FEW_AND_MANY = [("ring", 4, seed) for seed in range(5)] + [
    pytest.param("cycles", 16, seed, marks=[pytest.mark.slow] if seed else []) for seed in range(5)
]


@pytest.mark.parametrize(("kind", "n", "seed"), FEW_AND_MANY)
def test_running_sums_are_exact_within_three_hundred_ticks(kind: str, n: int, seed: int) -> None:
    """With a tolerance below what numbers can tell, so that rounds never rest."""
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
    for other in graph[dead]:  # one after the other hears of it
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
    reborn = SummedStatistics(
        dead, sorted(graph), FixedSurroundings(graph[dead]), "basis", SIZE, np.random.default_rng(seed), 2, 1.0, 1.0
    )  # fmt: skip
    world.agents[dead] = reborn
    for other in graph[dead]:
        agents[other].peer_alive(dead, 2, float(world.now))
    reborn.publish(s[dead], 1, float(world.now))
    world.until_complete(5)
    for agent in world.agents.values():
        assert isinstance(agent, SummedStatistics) and agent.epoch == agents["agent-00"].epoch
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
        assert isinstance(agent, SummedStatistics) and agent.epoch == 0
        assert agent.total().complete and agent.total().origins == 5
        assert np.abs(agent.total().vector - target).max() < 1e-5


def test_sums_in_another_basis_are_refused_aloud() -> None:
    one = summed(graph_of("ring", 4), 0)["agent-00"]
    other = AveragedStatistics("agent-00", [], FixedSurroundings({"agent-01": 0.3}), "basis", SIZE)
    for machine, message in (
        (one, Share(round=0, layout=layout_of("another", 0))),
        (one, Leave(layout=layout_of("another", 3), ack=0)),
        (other, Average(round=0, layout=layout_of("another", 0))),
    ):
        machine.events()
        before = machine.counters["foreign_basis"]
        machine.receive("agent-01", message, {}, 0.0)  # type: ignore[arg-type]
        assert machine.counters["foreign_basis"] == before + 1
    assert other.events() == [Foreign("agent-01", "its statistics are in another basis than the own ones (basis)")]
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
            return {n: AveragedStatistics(n, names, FixedSurroundings(graph[n]), "basis", SIZE, 1.0, 5.0) for n in names}

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


# --- who is too sure (T10) ----------------------------------------------------------------------------------------------------------


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
        name: AveragedStatistics(name, sorted(graph), FixedSurroundings(graph[name]), "basis", len(central), 1.0, 10.0) for name in graph
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
