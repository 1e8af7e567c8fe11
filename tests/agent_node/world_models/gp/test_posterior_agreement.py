"""Posteriors of agents whose statistics pass through the real machines of consensus, against the posterior of all data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agent_node.session.observation_features import Features
from agent_node.world_models.gp.feature_basis import HilbertSpaceBasis
from agent_node.world_models.gp.gp_model import GPModel
from agent_node.world_models.gp.gp_posterior import Posterior
from agent_node.world_models.gp.gp_statistics import Statistics
from agent_node.world_models.settings import GPSettings
from protocols.averaging.averager import FixedNeighbourhood
from protocols.spaces.layout import Layout
from protocols.statistics.averaged_statistics import AveragedStatistics
from protocols.statistics.ledger import Ledger
from protocols.wire.codec import decode, encode
from tests.agent_node.world_models.gp.gp_worlds import LENGTHSCALES, PLANE, THETA, moves, summed
from tests.agent_node.world_models.gp.test_gp_model import walk
from tests.protocols.statistics.test_statistics_consensus import Ticks, graph_of

SQUARE = Features(Layout(shape=[2], low=[-1.0, -1.0], high=[1.0, 1.0]), 1)
SETTINGS = GPSettings(learning_starts=100, bounds=[(-10, 10)], features=128, noise_variance=1e-3, iterations=5)
QUERY = walk(99, 100)


# --- synchronous averaging (T3) -----------------------------------------------------------------------------------------------------


class Rounds:
    """Agents in a ring that average their statistics in step, every message through the codec."""

    def __init__(self, statistics: list[Statistics], tolerance: float = 1e-6) -> None:
        graph = graph_of("ring", len(statistics))
        basis, names = statistics[0].basis_id, sorted(graph)
        size = len(statistics[0].pack())
        self.agents = {
            name: AveragedStatistics(name, names, FixedNeighbourhood(graph[name]), basis, size, 1.0, 10.0, tolerance=tolerance)
            for name in names
        }
        self.now = 0.0
        for agent, own in zip(self.agents.values(), statistics, strict=True):
            agent.publish(own.pack(), int(own.count), 0.0)
        self._carry()

    def round(self) -> None:
        """One more than the first, which the constructor has done."""
        self.now += 1.0
        for agent in self.agents.values():
            agent.tick(self.now)
        self._carry()

    def _carry(self) -> None:
        while sends := [(name, send) for name, agent in self.agents.items() for send in agent.outgoing()]:
            for name, send in sends:
                message, arrays = decode([bytes(part) for part in encode(send.message, send.arrays)])
                self.agents[send.dst].receive(name, message, arrays, self.now)


def test_predictions_of_four_in_a_ring_are_exact_to_the_promised_digits() -> None:
    """4 x 400 points, 256 features: the error of means and variances falls by 3 a round, the rate of this ring."""
    basis = HilbertSpaceBasis(PLANE, 256, LENGTHSCALES)
    statistics = [Statistics.of(basis, *moves(np.random.default_rng(seed), 400)) for seed in range(4)]
    central = Posterior.of(basis, THETA, summed(statistics))
    query, _ = moves(np.random.default_rng(99), 300)
    mean, variance = central.predict(query)
    alone = Posterior.of(basis, THETA, statistics[0]).predict(query)
    assert (alone[0] - mean).abs().max() > 1e-2, "one agent's data alone give another model"
    world, errors = Rounds(statistics, tolerance=1e-15), {}
    for k in range(1, 25):
        if k in (4, 8, 16, 20, 24):
            found = [
                Posterior.of(basis, THETA, Statistics.unpack(agent.total().vector, basis, 2)).predict(query)
                for agent in world.agents.values()
            ]
            errors[k] = [max(float((parts[i] - exact).abs().max()) for parts in found) for i, exact in enumerate((mean, variance))]
        world.round()
    for k, bound in {8: 1e-3, 16: 1e-6, 24: 1e-10}.items():
        assert max(errors[k]) < bound, k
    assert errors[4][0] > 1e-4, "but not sooner"
    assert np.log(errors[20][0] / errors[8][0]) / 12 == pytest.approx(np.log(1 / 3), rel=0.05)


def test_variance_is_the_own_until_all_have_agreed_and_everybodys_then() -> None:
    models = [GPModel(SETTINGS.model_copy(update={"optimise_every": 0}), SQUARE, 0, 0) for _ in range(4)]
    for seed, model in enumerate(models):
        model.absorb(walk(seed, 100))
        model.refit()
    own = [model.predict(QUERY.observation, QUERY.action).epistemic for model in models]
    sums = [Statistics.unpack(model.statistics(), model.basis, 2) for model in models]
    inputs = models[0].encoder.inputs(QUERY.observation, QUERY.action)
    mean, variance = Posterior.of(models[0].basis, models[0].parameters, summed(sums)).predict(inputs)
    world = Rounds(sums)
    for k in range(1, 60):
        totals = [agent.total() for agent in world.agents.values()]
        for model, total, alone in zip(models, totals, own, strict=True):
            model.use(total.vector, total.complete)
            if k == 8 or total.complete:
                model.refit()
            if k == 8:
                assert not total.complete
                assert (model.posterior.mean(inputs) - mean).abs().max() < 1e-2
                assert np.array_equal(model.predict(QUERY.observation, QUERY.action).epistemic, alone)
        if totals[0].complete:
            break
        world.round()
    assert all(total.complete and total.origins == 4 for total in totals)
    for model, alone in zip(models, own, strict=True):
        found = model.posterior.predict(inputs)
        assert (found[0] - mean).abs().max() < 1e-4 and (found[1] - variance).abs().max() < 1e-4
        assert (model.predict(QUERY.observation, QUERY.action).epistemic < alone).mean() > 0.99


# --- ledger (T4) --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
@pytest.mark.parametrize(("kind", "n"), [("ring", 4), ("cycles", 16)])
def test_posteriors_are_equal_bit_for_bit_in_spite_of_loss_and_delay(kind: str, n: int, seed: int) -> None:
    """Three messages of ten are lost, the others take 1 to 5 ticks. On the way a part of the data is never surer than all of it."""
    graph = graph_of(kind, n)
    models = {name: GPModel(SETTINGS, SQUARE, 0, i) for i, name in enumerate(graph)}
    ledgers, random = {}, np.random.default_rng(seed)
    for i, (name, model) in enumerate(models.items()):
        model.absorb(walk(100 * seed + i, 60))
        basis, vector = model.basis_id, model.statistics()

        def validate(origin: str, payload: np.ndarray, model: GPModel = model) -> str:
            model.check(payload)
            return ""

        ledgers[name] = Ledger(
            name, sorted(graph), list(graph[name]), basis, len(vector), np.random.default_rng([seed, i]), 1, validate, 1.0, 10.0
        )
        ledgers[name].publish(vector, 60, 0.0)
    one = models["agent-00"]
    inputs = one.encoder.inputs(QUERY.observation, QUERY.action)
    central = summed(Statistics.unpack(models[name].statistics(), one.basis, 2) for name in sorted(models))
    exact = Posterior.of(one.basis, one.parameters, central)
    world, least = Ticks(ledgers, seed), exact.predict(inputs)[1]
    chosen = list(random.choice(sorted(graph), 4, replace=False))
    apart = 0
    for tick in range(60):
        world.tick()
        for name in chosen if tick in (3, 6, 10, 15) else ():
            total = ledgers[name].total()
            partial = Posterior.of(one.basis, one.parameters, Statistics.unpack(total.vector, one.basis, 2))
            assert bool((partial.predict(inputs)[1] >= least - 1e-12).all())
            apart += total.origins < n
    assert apart, "they were compared before all entries had arrived"
    learners = models if n == 4 else {name: models[name] for name in chosen}
    for name, model in learners.items():
        total = ledgers[name].total()
        assert total.complete and total.origins == n and total.vector.tobytes() == central.pack().tobytes()
        model.use(total.vector, total.complete)
        model.refit()  # kernel parameters are learnt, from equal sums equally
    first, *others = learners.values()
    assert not torch.equal(first.parameters.lengthscales, first._start.lengthscales)
    for other in others:
        assert torch.equal(other.parameters.logarithms(), first.parameters.logarithms())
        for name in ("weights", "factor", "root"):
            assert getattr(other.posterior, name).numpy().tobytes() == getattr(first.posterior, name).numpy().tobytes()
    reference = Posterior.of(first.basis, first.parameters, central).predict(inputs)
    for found, wanted in zip(others[-1].posterior.predict(inputs), reference, strict=True):
        assert torch.equal(found, wanted)
