"""Populations as arrays: in synchronous rounds their numbers are those of the state machines, with and without losses."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest

from protocols.averaging import round_deadline
from protocols.averaging.averager import Averager
from protocols.averaging.push_sum import PushSum
from protocols.averaging.round_deadline import LATE
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.faults.fault_draws import KeyedDraws, first_draws
from protocols.faults.fault_schedule import FaultSchedule, compile_schedule
from protocols.faults.link_effects.faulty_links import FaultyLinks
from protocols.faults.link_effects.link_trace import RecordedPast
from protocols.faults.settings import FaultsSettings, LinkRule
from protocols.simulation.array_averaging import ArrayAveraging, ArrayGossip, ArrayPopulation, ArrayPushSum
from protocols.simulation.array_links import ArrayLinks, Mask, NotAsArrays
from protocols.simulation.simulated_averaging import Population
from protocols.simulation.simulated_faults import ScheduledLinks
from protocols.simulation.simulated_network import Network
from protocols.topology import TopologySettings
from protocols.topology.communication_graph import Graph, make_graph
from protocols.topology.settings import ErdosRenyiSettings, RandomRegularSettings, TorusSettings

SIZE = 3
DEADLINE, EVERY = 0.2, 0.3
"""no round lasts until the next one begins: rounds are synchronous under losses too"""
GRAPHS = {
    "ring": (TopologySettings(kind="ring"), 8),
    "star": (TopologySettings(kind="star"), 7),
    "torus": (TorusSettings(), 12),
    "random regular": (RandomRegularSettings(degree=4), 20),
    "random": (ErdosRenyiSettings(probability=0.3), 15),
}
MODES: dict[str, tuple[Any, Any]] = {"mh": (SynchronousAveraging, ArrayGossip), "pushsum": (PushSum, ArrayPushSum)}


def graph_of(settings: TopologySettings, count: int, seed: int = 0) -> Graph:
    return make_graph(settings, [f"agent-{i}" for i in range(count)], seed)


def schedule_of(graph: Graph, *rules: dict[str, Any]) -> FaultSchedule:
    return compile_schedule(None, [LinkRule.model_validate({"id": f"rule{i}", **rule}) for i, rule in enumerate(rules)], graph.agents)


def start(graph: Graph, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(seed).standard_normal((len(graph.agents), SIZE))


def machines(graph: Graph, mode: str, schedule: FaultSchedule, seed: int, every: float, **options: Any) -> Population:
    """The state machines over the links of the fault model."""
    network = Network()
    averagers: dict[str, Averager] = {
        name: MODES[mode][0](graph.neighbourhood(name), "simulation", SIZE, DEADLINE, **options) for name in graph.agents
    }
    made = Population(network, averagers, start(graph, seed), every)
    for row, name in enumerate(graph.agents):
        links = FaultyLinks(schedule, seed, name)
        network.add(name, made.script(name, row), ScheduledLinks(links, lambda: None, lambda: 0, lambda: False, set(), RecordedPast()))
    for name in graph.agents:
        for peer in graph.all_neighbours(name):
            averagers[name].peer_alive(peer, 1, 0.0)
    return made


def arrays(graph: Graph, mode: str, schedule: FaultSchedule, seed: int, every: float, **options: Any) -> ArrayPopulation:
    averaging: ArrayAveraging = MODES[mode][1](graph, start(graph, seed), **options)
    return ArrayPopulation(averaging, ArrayLinks(schedule, seed, graph.agents, averaging.arcs, averaging.message), every, DEADLINE)


def advance(made: Population, rounds: int) -> None:
    """Until every agent has closed so many rounds."""
    assert made.network.run(inf, most=1_000_000, done=lambda: made.agreed(0.0) or made.closed >= rounds * len(made.x))
    assert made.closed == rounds * len(made.x)


class Lateness:
    """For every arc by how many more messages were lost than have arrived, as `RoundDeadline` counts them."""

    def __init__(self, population: ArrayPopulation) -> None:
        self.counts = np.zeros(len(population.averaging.arcs), np.int64)
        arrived = population.links.arrived
        self.late = False

        def watched(sent: Mask) -> Mask:
            came = arrived(sent)
            self.counts = np.where(came, np.maximum(self.counts - 1, 0), self.counts + 1)
            self.late = self.late or bool((self.counts >= LATE).any())
            return came

        population.links.arrived = watched  # type: ignore[method-assign]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("every", [0.0, EVERY])
def test_without_losses_the_numbers_are_those_of_the_state_machines(name: str, mode: str, every: float) -> None:
    graph = graph_of(*GRAPHS[name])
    schedule = schedule_of(graph, {"delay": "20ms"})
    real, fast = machines(graph, mode, schedule, 1, every), arrays(graph, mode, schedule, 1, every)
    for rounds in range(1, 41):
        advance(real, rounds)
        fast.round()
        assert np.abs(real.x - fast.averaging.x).max() < 1e-12
    assert (fast.sent, fast.bytes, fast.arrived) == (real.network.sent, real.network.bytes, real.network.events)
    assert fast.now == pytest.approx(real.network.now, abs=1e-9) and fast.missing == real.missing == 0
    assert [point.disagreement for point in fast.curve] == pytest.approx([point.disagreement for point in real.curve], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("name", GRAPHS)
def test_gossip_under_losses_has_the_numbers_of_the_state_machines(name: str, loss: float, seed: int) -> None:
    graph = graph_of(*GRAPHS[name], seed)
    schedule = schedule_of(graph, {"delay": "10ms", "loss": loss})
    real, fast = machines(graph, "mh", schedule, seed, EVERY), arrays(graph, "mh", schedule, seed, EVERY)
    for rounds in range(1, 41):
        advance(real, rounds)
        fast.round()
        assert np.abs(real.x - fast.averaging.x).max() < 1e-12
    assert fast.links.lost == real.network.counters and fast.links.lost["lost.rule0"] > 0
    assert (fast.sent, fast.arrived, fast.missing) == (real.network.sent, real.network.events, real.missing)


def same_numbers(real: Population, fast: ArrayPopulation, most: int, lateness: Lateness | None = None) -> int:
    """Rounds after which they were compared: `most`, or up to the first with a neighbour that is regularly late."""
    for rounds in range(1, most + 1):
        fast.round()
        if lateness is not None and lateness.late:
            return rounds - 1
        advance(real, rounds)
        assert np.abs(real.x - fast.averaging.x).max() < 1e-12, f"round {rounds}"
        assert (fast.missing, fast.sent) == (real.missing, real.network.sent)
        assert fast.averaging.total is None or fast.mass_error < 1e-14
    return most


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("name", GRAPHS)
def test_push_sum_under_losses_has_them_until_a_neighbour_is_regularly_late(name: str, loss: float, seed: int) -> None:
    graph = graph_of(*GRAPHS[name], seed)
    schedule = schedule_of(graph, {"delay": "10ms", "loss": loss})
    real, fast = machines(graph, "pushsum", schedule, seed, EVERY), arrays(graph, "pushsum", schedule, seed, EVERY)
    assert same_numbers(real, fast, 40, Lateness(fast)) >= 3


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("name", [*GRAPHS, "exponential"])
def test_push_sum_has_them_for_ever_where_every_neighbour_is_waited_for(name: str, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that close, offers that are repeated, neighbours that are silent; in a directed graph acknowledgements against its arcs."""
    monkeypatch.setattr(round_deadline, "LATE", 10**6)
    settings, count = GRAPHS.get(name, (TopologySettings(kind="exponential"), 10))
    graph = graph_of(settings, count)
    schedule = schedule_of(graph, {"delay": "10ms", "loss": 0.3})
    real = machines(graph, "pushsum", schedule, 0, EVERY, window=window)
    assert same_numbers(real, arrays(graph, "pushsum", schedule, 0, EVERY, window=window), 60) == 60


def test_a_directed_graph_without_losses() -> None:
    graph = graph_of(TopologySettings(kind="exponential"), 11)
    schedule = schedule_of(graph, {"delay": "10ms"})
    real, fast = machines(graph, "pushsum", schedule, 0, 0.0), arrays(graph, "pushsum", schedule, 0, 0.0)
    same_numbers(real, fast, 40)
    assert (fast.bytes, fast.arrived) == (real.network.bytes, real.network.events)
    with pytest.raises(ValueError, match="undirected"):
        arrays(graph, "mh", schedule, 0, 0.0)


def test_several_rules_for_some_of_the_links() -> None:
    graph = graph_of(RandomRegularSettings(degree=4), 20)
    rules = ({"delay": "4ms"}, {"loss": 0.2, "from": "agent-1*"}, {"loss": 0.3, "to": ["agent-3", "agent-7"], "symmetric": True})
    other = {"loss": 1.0, "types": ["share"]}
    schedule = schedule_of(graph, *rules, {"delay": "6ms", "from": "agent-*"}, other)
    real, fast = machines(graph, "mh", schedule, 5, EVERY), arrays(graph, "mh", schedule, 5, EVERY)
    same_numbers(real, fast, 40)
    assert fast.links.delay == pytest.approx(0.01) and fast.links.lost == real.network.counters
    assert fast.links.lost.keys() == {"lost.rule1", "lost.rule2"}


def test_first_draws_are_those_of_each_message() -> None:
    draws = [KeyedDraws(3, "rule", f"agent-{i}") for i in range(5)]
    seqs = [1, 7, 2, 2**40, 1]
    assert first_draws(draws, seqs).tolist() == [one.uniform(seq) for one, seq in zip(draws, seqs, strict=True)]
    assert len(first_draws([], [])) == 0


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"delay": {"dist": "uniform", "min": "1ms", "max": "2ms"}}, "draws delays"),
        ({"delay": "1ms", "from": "agent-1"}, "delays of links differ"),
        ({"loss": {"p": 0.1, "corr": 0.5}}, "correlated"),
        ({"loss": {"model": "gilbert_elliott", "p_gb": 0.1, "p_bg": 0.5}}, "correlated"),
        ({"duplicate": {"p": 0.1}}, "more than to delay"),
        ({"corrupt": {"p": 0.1}}, "more than to delay"),
        ({"loss": 0.1, "during": {"start": {"round": 3}}}, "part of the time"),
        ({"loss": 0.1, "during": {"stop": {"time": "3s"}}}, "part of the time"),
    ],
)
def test_links_that_are_not_modelled_are_refused(rule: dict[str, Any], why: str) -> None:
    graph = graph_of(TopologySettings(kind="ring"), 6)
    with pytest.raises(NotAsArrays, match=why):
        arrays(graph, "mh", schedule_of(graph, rule), 0, 0.0)


def test_faults_that_are_not_modelled_are_refused() -> None:
    graph = graph_of(TopologySettings(kind="ring"), 6)
    event = {"id": "crash", "at": {"time": "1s"}, "process": {"target": "agent-2", "action": "kill"}}
    with pytest.raises(NotAsArrays, match=r"crash is an event of faults\.events"):
        arrays(graph, "mh", compile_schedule(FaultsSettings.model_validate({"events": [event]}), [], graph.agents), 0, 0.0)
    with pytest.raises(NotAsArrays, match="draws faults"):
        arrays(graph, "mh", compile_schedule(FaultsSettings.model_validate({"random": {}}), [], graph.agents), 0, 0.0)
    changing = graph_of(TopologySettings(kind="one_peer_exponential"), 8)
    with pytest.raises(ValueError, match="changes from round to round"):
        arrays(changing, "pushsum", schedule_of(changing), 0, 0.0)


@pytest.mark.slow
def test_a_hundred_thousand_agents_average_under_losses() -> None:
    graph = graph_of(RandomRegularSettings(degree=4), 100_000)
    made = arrays(graph, "pushsum", schedule_of(graph, {"loss": 0.1}), 0, 0.0)
    points = [made.round() for _ in range(2)]
    assert made.sent == 3 * 400_000 and made.mass_error < 1e-14 and made.links.lost["lost.rule0"] == pytest.approx(80_000, rel=0.02)
    assert 1.0 > points[0].disagreement > points[1].disagreement
