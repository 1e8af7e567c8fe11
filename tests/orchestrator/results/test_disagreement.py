"""Disagreement from random projections, against the parameters themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.run_server.metrics.disagreement_tracker import PENDING_ROUNDS, DisagreementTracker, ModelTracker
from orchestrator.run_server.metrics.metrics_collector import MetricsCollector
from protocols.averaging.projection_sketch import Projection
from protocols.conversations.control.control_messages import Metrics
from protocols.topology import TopologySettings, build
from protocols.topology.communication_graph import make_graph
from protocols.topology.mixing_rates import rates
from tests.protocols.mixing_matrices import metropolis_weights


def pair(before: float, after: float) -> np.ndarray:
    return np.array([[before], [after]])


def test_a_round_by_hand() -> None:
    tracker = DisagreementTracker()
    tracker.add("a", 1, np.array([[1.0, 0.0], [2.0, 5.0]]), at=1.5)
    tracker.add("b", 1, np.array([[3.0, 0.0], [2.0, 5.0]]), at=0.0)
    (done,) = tracker.complete(["a", "b"])
    assert (done.round, done.before, done.after, done.agents, done.contraction, done.at) == (1, 1.0, 0.0, 2, 0.0, 1.5)


def test_sketches_tell_the_distance_of_the_parameters() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(8, 3000)) * np.linspace(0.1, 2, 3000)
    truth = np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean())
    estimates = []
    for seed in range(30):
        tracker, projection = DisagreementTracker(), Projection(seed, rows=64)
        for i in range(8):
            sketch = projection.sketch(x[i])
            tracker.add(f"agent-{i}", 1, np.stack([sketch, sketch / 2]), at=0.0)
        (done,) = tracker.complete([f"agent-{i}" for i in range(8)])
        assert done.contraction == pytest.approx(0.5)
        estimates.append(done.before)
    # Relative standard error is below 1 / sqrt(2 * 64); the mean of thirty is better by the root of thirty.
    assert np.mean(estimates) == pytest.approx(truth, rel=0.05)
    assert np.std(estimates) / truth < 0.09


def test_contraction_of_an_averaging_round_is_that_of_its_matrix() -> None:
    agents = [f"agent-{i}" for i in range(6)]
    weights = metropolis_weights(build(TopologySettings(kind="ring"), agents))
    values, vectors = np.linalg.eigh(weights)
    # The slowest mode of the ring, at all parameters: after / before is the predicted contraction exactly.
    slowest = vectors[:, np.argsort(np.abs(values))[-2]]
    random = np.random.default_rng(1)
    x = np.outer(slowest, random.normal(size=50)) + random.normal(size=50)
    projection, tracker = Projection(0, rows=16), DisagreementTracker()
    before, after = ([projection.sketch(row) for row in rows] for rows in (x, weights @ x))
    for i, agent in enumerate(agents):
        assert tracker.complete(agents) == []
        tracker.add(agent, 3, np.stack([before[i], after[i]]), at=0.0)
    (done,) = tracker.complete(agents)
    assert done.round == 3 and done.agents == 6
    assert done.contraction == pytest.approx(rates(make_graph(TopologySettings(kind="ring"), agents)).contraction)
    assert tracker.complete(agents) == [], "handed out once"


def test_only_the_living_are_waited_for() -> None:
    tracker = DisagreementTracker()
    for round_ in (1, 2):
        for agent, value in (("a", 1.0), ("b", 3.0)):
            tracker.add(agent, round_, pair(value, 2.0), at=0.0)
    assert tracker.complete(["a", "b", "c"]) == []
    done = tracker.complete(["a", "b"])
    assert [d.round for d in done] == [1, 2] and done[0].before == 1.0 and done[0].after == 0.0 and done[0].contraction == 0.0
    for agent in ("a", "c"):
        tracker.add(agent, 1, pair(9.0, 9.0), at=0.0)
        tracker.add(agent, 3, pair(1.0, 1.0), at=0.0)
    assert tracker.complete(["c"]) == [], "a single agent has no disagreement"
    assert [d.round for d in tracker.complete(["a", "c"])] == [3], "closed rounds stay closed"


def test_equal_agents_have_nothing_to_contract() -> None:
    tracker = DisagreementTracker()
    tracker.add("a", 1, pair(1.0, 1.0), at=0.0)
    tracker.add("b", 1, pair(1.0, 1.0), at=0.0)
    (done,) = tracker.complete(["a", "b"])
    assert done.contraction is None


def test_what_does_not_fit_is_refused() -> None:
    tracker = DisagreementTracker()
    for bad in (np.zeros(2), np.zeros((3, 1)), np.zeros((2, 0)), np.zeros((2, 1), np.float32)):
        with pytest.raises(ValueError, match="sketch"):
            tracker.add("a", 1, bad, at=0.0)
    tracker.add("a", 1, pair(1.0, 1.0), at=0.0)
    with pytest.raises(ValueError, match="different lengths"):
        tracker.add("b", 1, np.zeros((2, 7)), at=0.0)


def test_memory_is_bounded_and_a_restart_withdraws() -> None:
    tracker = DisagreementTracker()
    for round_ in range(10 * PENDING_ROUNDS):
        tracker.add("a", round_, pair(1.0, 1.0), at=0.0)
    for round_ in range(10 * PENDING_ROUNDS):
        tracker.add("b", round_, pair(3.0, 1.0), at=0.0)
    assert len(tracker.complete(["a", "b"])) == PENDING_ROUNDS
    tracker.add("a", 10**6, pair(1.0, 1.0), at=0.0)
    tracker.forget("a")
    tracker.add("b", 10**6, pair(3.0, 1.0), at=0.0)
    assert tracker.complete(["a", "b"]) == []


def test_models_of_one_moment_whatever_their_rounds(tmp_path: Path) -> None:
    """Two agents behind a cut have no round in common; what they are is compared all the same."""
    warnings: list[str] = []
    collector = MetricsCollector(tmp_path, [], warnings.append)

    def report(agent: str, steps: int, model: np.ndarray, at: float) -> None:
        message = Metrics(step=7, episode=3, names=["environment.steps", "environment.episodes"], stamp=at)
        collector.receive(agent, message, {"values": np.array([steps, 12.0]), "models": model}, ["a", "b"])

    report("a", 640, np.array([1.0, 0.0]), 1.5)
    report("a", 700, np.array([5.0, 0.0]), 2.0)
    assert "run" not in collector.newest
    report("b", 640, np.array([3.0, 0.0]), 1.25)
    assert collector.newest["run"] == {"models.disagreement": 1.0}
    report("b", 700, np.array([9.0, 0.0]), 2.0)
    report("b", 700, np.array([99.0, 0.0]), 2.0)
    lines = [json.loads(line) for line in (tmp_path / "nodes" / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["t"], line["step"], line["episode"], line["value"]) for line in lines] == [(1.5, 640, 12, 1.0), (2.0, 700, 12, 2.0)]
    report("b", 800, np.zeros((2, 2)), 3.0)
    assert len(warnings) == 1 and "a sketch is [s] of f8" in warnings[0]
    collector.close()


def test_sketches_of_other_lengths_are_refused() -> None:
    tracker = ModelTracker()
    tracker.add("a", 1, 0, np.zeros(8), at=0.0)
    with pytest.raises(ValueError, match="different lengths"):
        tracker.add("b", 1, 0, np.zeros(16), at=0.0)
    tracker.forget("a")
    tracker.add("b", 1, 0, np.zeros(16), at=0.0)
    assert tracker.complete(["b"]) == [] and [done.value for done in tracker.complete(["b", "c"])] == []
