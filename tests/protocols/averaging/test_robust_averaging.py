"""Averaging with Byzantine agents: guarantees of the rules, attacks against them, and whole networks of which a sixth is Byzantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.averaging_messages import Average
from protocols.averaging.byzantine_attacks import ATTACKS, AttackContext, apply_attack, draws
from protocols.averaging.robust_averaging import LONGEST, VectorRuleAveraging
from protocols.averaging.rule_settings import ROOM, rule_settings, rules_with
from protocols.averaging.synchronous_gossip import SynchronousAveraging, Vector
from protocols.conversations.conversation import Send
from protocols.runtime.component_registry import component
from protocols.runtime.errors import BadMessage
from protocols.topology import TopologySettings, edges
from tests.protocols.mixing_matrices import mixing_weights
from tests.protocols.network import Link, Network

LAYOUT = "layout"
RULE = pytest.mark.parametrize("rule", rules_with("robust"))
PLAUSIBLE = ("sign_flip", "scale", "noise", "constant", "alie", "ipm", "dissensus", "two_faced")
"""attacks with finite vectors of the right shape"""
WHOLE = st.integers(-50, 50).map(float)
"""whole numbers: sums and differences of them are exact, so that equal scores stay equal"""


@st.composite
def inputs(draw: st.DrawFn, elements: st.SearchStrategy[float] = WHOLE) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(x_i, rows of x_j, W_ij, b), with as many neighbours as every rule needs, or more."""
    num_byzantine = draw(st.integers(0, 2))
    count = draw(st.integers(2 * num_byzantine + 2, 2 * num_byzantine + 5))
    size = draw(st.integers(1, 4))
    own = draw(arrays(np.float64, size, elements=elements))
    others = draw(arrays(np.float64, (count, size), elements=elements))
    weights = draw(arrays(np.float64, count, elements=st.floats(0.0, 1.0)))
    return own, others, weights / max(1.0, weights.sum()), num_byzantine


def update(rule: str, own: np.ndarray, others: np.ndarray, weights: np.ndarray, num_byzantine: int) -> np.ndarray:
    return np.asarray(component(ROOM, rule).load()(own, others, weights, rule_settings(rule, {"num_byzantine": num_byzantine})))


def result(rule: str, own: np.ndarray, others: np.ndarray, weights: np.ndarray, num_byzantine: int) -> np.ndarray:
    return own + update(rule, own, others, weights, num_byzantine)


@RULE
@given(given=inputs())
@settings(deadline=None, max_examples=60)
def test_equal_inputs_are_a_fixed_point(rule: str, given: Any) -> None:
    own, others, weights, num_byzantine = given
    assert (result(rule, own, np.broadcast_to(own, others.shape), weights, num_byzantine) == own).all()


@RULE
@given(given=inputs(), shift=st.integers(-1000, 1000))
@settings(deadline=None, max_examples=60)
def test_a_common_shift_passes_through(rule: str, given: Any, shift: int) -> None:
    own, others, weights, num_byzantine = given
    assert result(rule, own + shift, others + shift, weights, num_byzantine) == pytest.approx(
        result(rule, own, others, weights, num_byzantine) + shift
    )


@RULE
@given(given=inputs(), data=st.data())
@settings(deadline=None, max_examples=60)
def test_the_order_of_the_neighbours_is_irrelevant(rule: str, given: Any, data: st.DataObject) -> None:
    own, others, weights, num_byzantine = given
    order = data.draw(st.permutations(range(len(others))))
    there, back = result(rule, own, others[order], weights[order], num_byzantine), result(rule, own, others, weights, num_byzantine)
    assert there == pytest.approx(back, abs=1e-9)


@given(given=inputs(st.floats(-1e6, 1e6)))
@settings(deadline=None, max_examples=60)
def test_clip_moves_at_most_by_its_radius(given: Any) -> None:
    own, others, weights, num_byzantine = given
    nearest = np.sort(np.linalg.norm(others - own, axis=1))[: len(others) - num_byzantine]
    tau = np.sqrt(np.square(nearest).mean())
    moved = np.linalg.norm(result("clip", own, others, weights, num_byzantine) - own)
    assert moved <= weights.sum() * tau * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("rule", ["trim", "median"])
@given(given=inputs(st.floats(-1e6, 1e6)), data=st.data())
@settings(deadline=None, max_examples=60)
def test_trim_and_median_stay_among_the_honest(rule: str, given: Any, data: st.DataObject) -> None:
    own, others, weights, num_byzantine = given
    lying = data.draw(st.lists(st.integers(0, len(others) - 1), max_size=num_byzantine, unique=True))
    lies = others.copy()
    lies[lying] = data.draw(arrays(np.float64, (len(lying), len(own)), elements=st.floats(-1e12, 1e12)))
    honest = np.vstack([own, np.delete(others, lying, axis=0)])
    moved, slack = result(rule, own, lies, weights, num_byzantine), 1e-3  # x_i + (x_j - x_i) is x_j up to rounding of 1e12
    assert (moved >= honest.min(axis=0) - slack).all() and (moved <= honest.max(axis=0) + slack).all()


def test_rules_by_hand() -> None:
    differences = np.array([[1.0, 0.0], [0.0, 2.0], [2.0, 0.0], [100.0, 0.0]])
    weights, own = np.full(4, 0.25), np.zeros(2)
    tau = np.sqrt((1 + 4 + 4) / 3)
    assert update("clip", own, differences, weights, 1) == pytest.approx([0.25 * (1 + 2 * tau / 2 + tau), 0.25 * tau])
    assert update("trim", own, differences, weights, 1) == pytest.approx([1.0, 0.0])
    assert update("median", own, differences, weights, 1) == pytest.approx([1.0, 0.0])
    # Squared distances to the n - b - 2 = 2 nearest: 1 + 4 of the own, 1 + 1 of the first neighbour, 4 + 5, 1 + 4, far.
    assert update("krum", own, differences, weights, 1).tolist() == [1.0, 0.0]
    square = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    assert update("geomedian", own, square, weights[:3], 0) == pytest.approx([1.0, 1.0])
    # Most inputs at one point: it is that point.
    triangle = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)], [0.5, np.sqrt(0.75) / 3], [0.5, np.sqrt(0.75) / 3]])
    assert update("geomedian", own, triangle, weights, 0) == pytest.approx(triangle[3], abs=1e-5), (
        "with most inputs at one point it is that point"
    )


# --- one agent ------------------------------------------------------------------------------------------------------------------------


def averaging(place: FixedNeighbourhood, size: int, rule: str, num_byzantine: int) -> VectorRuleAveraging:
    return VectorRuleAveraging(place, LAYOUT, size, component(ROOM, rule).load(), rule_settings(rule, {"num_byzantine": num_byzantine}))


def agent(rule: str, num_byzantine: int, neighbours: str = "bcd", size: int = 2) -> VectorRuleAveraging:
    return averaging(FixedNeighbourhood(dict.fromkeys(neighbours, 1.0 / (len(neighbours) + 1))), size, rule, num_byzantine)


def tell(machine: VectorRuleAveraging, number: int, **vectors: Sequence[float]) -> None:
    for src, vector in vectors.items():
        machine.receive(src, Average(round=number, layout=LAYOUT), {"vector": np.array(vector, np.float32)}, 0.0)


def test_what_is_too_long_is_refused_and_counted() -> None:
    a = agent("median", 1, "bcde")
    a.begin(0, np.array([3.0, 4.0]), 0.0)
    tell(a, 0, b=(4, 4), c=(4, 4), d=(4, 4), e=(0, 5 * LONGEST * 1.001))
    (event,) = a.events()
    assert event.used == ("b", "c", "d") and event.missing == ("e",) and event.delta.tolist() == [1.0, 0.0]
    assert a.counters["bad.E_NORM"] == 1
    a.begin(1, np.array([3.0, 4.0]), 0.0)
    tell(a, 1, b=(4, 4), c=(4, 4), d=(4, 4), e=(0, 5 * LONGEST * 0.999))
    assert a.events()[0].used == ("b", "c", "d", "e") and a.counters["bad.E_NORM"] == 1


@RULE
def test_with_too_few_the_own_value_is_kept(rule: str) -> None:
    needed = rule_settings(rule, {"num_byzantine": 1}).min_neighbours
    for count in (needed - 1, needed):
        names = "bcdef"[:count]
        a = agent(rule, 1, names)
        a.begin(0, np.array([1.0, 2.0]), 0.0)
        tell(a, 0, **dict.fromkeys(names, (5.0, 6.0)))
        (event,) = a.events()
        assert event.used == (() if count < needed else tuple(names))
        assert event.delta.any() == (count == needed) and a.counters["kept"] == (count < needed)


@RULE
def test_a_ring_cannot_protect_itself(rule: str) -> None:
    """Degree 2 < 2 f + 1: no agent moves, whatever is sent."""
    a = agent(rule, 1, "bc")
    a.begin(0, np.ones(2), 0.0)
    tell(a, 0, b=(2, 2), c=(50, 50))
    assert a.events()[0].delta.tolist() == [0.0, 0.0] and a.counters["kept"] == 1


def test_the_late_count_as_too_few() -> None:
    a = agent("trim", 1, "bcd")
    a.begin(0, np.ones(2), 0.0)
    tell(a, 0, b=(2, 2), c=(2, 2))
    a.tick(2.0)
    assert a.events()[0].missing == ("b", "c", "d") and a.counters["kept"] == 1


def test_one_liar_takes_nobody_into_the_future() -> None:
    a = agent("clip", 1, "bcd")
    tell(a, 1000, b=(1, 1))
    assert a.newest_round == -1
    tell(a, 3, c=(1, 1))
    assert a.newest_round == 3, "with one Byzantine agent at most, the second highest claim is one that an honest agent has reached"
    assert agent("clip", 0).newest_round == -1


def test_what_can_not_be_built() -> None:
    with pytest.raises(KeyError, match="average"):
        agent("average", 1)
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        agent("clip", -1)


# --- attacks --------------------------------------------------------------------------------------------------------------------------


def situation(receiver: str = "b", scale: float = 2.0, **changes: Any) -> AttackContext:
    known = {"b": np.array([1.0, 3.0]), "c": np.array([3.0, 3.0])}
    facts = {"own": np.array([3.0, 4.0]), "known": known, "round": 7, "past": np.array([8.0, 8.0]), "random": draws(1, "z", receiver, 7)}
    return AttackContext(receiver=receiver, scale=scale, **(facts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attack", "sent"),
    [
        ("sign_flip", [-6, -8]),
        ("scale", [6, 8]),
        ("constant", [2, 2]),
        ("alie", [0, 3]),
        ("ipm", [-4, -6]),
        ("dissensus", [-3, 3]),
        ("two_faced", [-6, -8]),
        ("nan", [np.nan, 4]),
        ("inf", [np.inf, 4]),
        ("stale_replay", [8, 8]),
        ("wrong_shape", [3, 4, 3]),
    ],
)
def test_attacks_by_hand(attack: str, sent: list[float]) -> None:
    assert np.array_equal(apply_attack(attack, situation()), np.array(sent, np.float32), equal_nan=True)
    assert apply_attack("two_faced", situation("c")).tolist() == [6, 8]


def test_draws_are_repeatable_and_differ_by_liar_receiver_and_round() -> None:
    for attack in ("noise", "garbage"):
        one = apply_attack(attack, situation())
        assert np.array_equal(one, apply_attack(attack, situation()), equal_nan=True)
        for other in (draws(2, "z", "b", 7), draws(1, "y", "b", 7), draws(1, "z", "c", 7), draws(1, "z", "b", 8)):
            assert not np.array_equal(one, apply_attack(attack, situation(random=other)), equal_nan=True)
    far = [apply_attack("noise", situation(random=draws(1, "z", "b", k), own=np.full(500, 3.0))) - 3.0 for k in range(20)]
    assert np.std(far) == pytest.approx(2.0 * 3.0, rel=0.05)


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - set(PLAUSIBLE) - {"stale_replay"}))
def test_what_broken_senders_emit_is_refused_before_any_rule(attack: str) -> None:
    ones = np.ones(4096)  # of so many random numbers, some are not finite
    a = agent("median", 1, "bcde", len(ones))
    a.begin(0, ones, 0.0)
    bad = apply_attack(attack, situation(own=ones, random=draws(0, "b", "a", 0)))
    a.receive("b", Average(round=0, layout=LAYOUT), {"vector": bad}, 0.0)
    assert a.counters["bad.E_FRAME" if attack == "wrong_shape" else "bad.E_NONFINITE"] == 1
    tell(a, 0, c=2 * ones, d=2 * ones, e=2 * ones)
    assert a.open, "an honest vector of b may still come"
    a.tick(2.0)
    assert a.events()[0].delta == pytest.approx(ones)


def test_finite_garbage_is_refused_for_its_length() -> None:
    a = agent("median", 1, "bcde", 2)
    a.begin(0, np.ones(2), 0.0)
    tell(a, 0, b=apply_attack("garbage", situation(random=draws(0, "b", "a", 3))), c=(2, 2), d=(2, 2), e=(2, 2))
    assert a.counters["bad.E_RANGE"] == 1 and a.events()[0].used == ("c", "d", "e")


# --- networks -------------------------------------------------------------------------------------------------------------------------


class ByzantineSender(SynchronousAveraging):
    """Keeps the rounds of the others and sends false vectors."""

    def __init__(self, place: FixedNeighbourhood, size: int, name: str, attack: str, scale: float) -> None:
        super().__init__(place, LAYOUT, size)
        self.name, self.attack, self.scale = name, attack, scale
        self.truth: Mapping[str, np.ndarray] = {}

    def _publish(self, own: Vector, neighbours: Sequence[str]) -> Vector:
        for dst in neighbours:
            there = AttackContext(own, self.truth, dst, self.round, self.scale, draws(5, self.name, dst, self.round), own)
            self._sends.append(Send(dst, Average(round=self.round, layout=LAYOUT), {"vector": apply_attack(self.attack, there)}))
        return own


class Society:
    """Twelve agents, two of them Byzantine, which see the vectors of all honest ones before every round."""

    def __init__(
        self,
        rule: str,
        attack: str,
        scale: float,
        topology: str = "complete",
        rounds: int = 8,
        size: int = 32,
        link: Link = Link((0.001, 0.002)),
    ) -> None:
        random = np.random.default_rng(0)
        names = [f"agent-{i}" for i in range(12)]
        self.num_byzantine, self.honest = names[-2:], names[:-2]
        matrix = mixing_weights(names, edges(TopologySettings(kind=topology), names))  # type: ignore[arg-type]
        places = {
            a: FixedNeighbourhood({b: float(matrix[i, j]) for j, b in enumerate(names) if i != j and matrix[i, j] > 0})
            for i, a in enumerate(names)
        }
        common = random.normal(size=size)
        self.x: dict[str, np.ndarray] = {name: common + random.normal(size=size) for name in names}
        self.start = np.array([self.x[name] for name in self.honest])
        self.rounds = rounds
        nodes: dict[str, SynchronousAveraging] = {
            name: ByzantineSender(places[name], size, name, attack, scale) for name in self.num_byzantine
        }
        for name in self.honest:
            around = places[name]
            if rule == "mean":
                nodes[name] = SynchronousAveraging(around, LAYOUT, size)
            else:
                nodes[name] = averaging(around, size, rule, 2)
        self.network = Network(nodes, link, random)
        self.network.on_event = self._averaged
        self.closed = dict.fromkeys(names, -1)
        self._begin(0)
        self.network.run(until=60.0)
        assert set(self.closed.values()) == {rounds - 1}

    def _begin(self, number: int) -> None:
        for name in self.num_byzantine:
            machine = self.network.nodes[name]
            assert isinstance(machine, ByzantineSender)
            machine.truth = {honest: self.x[honest].copy() for honest in self.honest}
        for name, machine in self.network.nodes.items():
            machine.begin(number, self.x[name], self.network.now)

    def _averaged(self, name: str, event: Any) -> None:
        if name in self.honest:
            self.x[name] = self.x[name] + event.delta
        self.closed[name] = event.round
        if set(self.closed.values()) == {event.round} and event.round + 1 < self.rounds:
            self._begin(event.round + 1)

    @property
    def now(self) -> np.ndarray:
        return np.array([self.x[name] for name in self.honest])

    def deviation(self) -> float:
        """Farthest an honest agent is from the honest mean of the start, in root mean square distances of the honest from it then."""
        mean = self.start.mean(axis=0)
        radius = np.sqrt(np.square(self.start - mean).sum(axis=1).mean())
        return float(np.linalg.norm(self.now - mean, axis=1).max() / radius)

    def spread(self) -> float:
        """Farthest an honest agent is from the honest mean now, in the same unit."""
        mean = self.start.mean(axis=0)
        radius = np.sqrt(np.square(self.start - mean).sum(axis=1).mean())
        return float(np.linalg.norm(self.now - self.now.mean(axis=0), axis=1).max() / radius)


STRENGTH = {"sign_flip": 4.0, "scale": 4.0, "noise": 4.0, "constant": 10.0, "alie": 1.5, "ipm": 4.0, "dissensus": 1.0, "two_faced": 20.0}


@pytest.mark.parametrize("attack", PLAUSIBLE)
def test_two_liars_of_twelve_move_the_honest_by_less_than_half_their_radius(attack: str) -> None:
    for rule in ("trim", "median", "geomedian", "clip"):
        society = Society(rule, attack, STRENGTH[attack])
        assert society.deviation() <= 0.5, rule
        if rule in ("trim", "clip"):
            assert society.spread() < 0.01, "these two agree in the end, even when each receives something else"
    krum = Society("krum", attack, STRENGTH[attack])
    assert krum.deviation() <= 1.2 and krum.spread() < 1e-6, "it agrees on the vector of one of them"


@pytest.mark.parametrize("attack", ["sign_flip", "scale", "constant", "dissensus", "two_faced"])
def test_the_same_liars_carry_the_mean_away(attack: str) -> None:
    assert Society("mean", attack, STRENGTH[attack]).deviation() >= 1.0


def test_told_two_things_medians_stay_apart() -> None:
    """Known limit: two-faced Byzantine agents keep the honest ones from agreeing, at a distance that does not grow."""
    for rule in ("median", "geomedian"):
        spreads = [Society(rule, "two_faced", 20.0, rounds=rounds).spread() for rounds in (4, 10)]
        assert 0.05 < spreads[1] <= spreads[0] * 1.001 < 0.5


@RULE
def test_in_a_ring_everybody_keeps_what_it_has(rule: str) -> None:
    society = Society(rule, "sign_flip", 4.0, topology="ring", rounds=3)
    assert (society.now == society.start).all()
    assert all(society.network.nodes[name].counters["kept"] == 3 for name in society.honest)


@RULE
def test_without_liars_the_honest_agree(rule: str) -> None:
    society = Society(rule, "scale", 1.0, rounds=12)
    assert society.spread() < 1e-6 and society.deviation() < (1.2 if rule == "krum" else 0.5)


def test_non_finite_numbers_do_not_even_pass_the_wire() -> None:
    with pytest.raises(BadMessage, match="E_NONFINITE"):
        Society("clip", "nan", 1.0, rounds=1)


@pytest.mark.parametrize("loss", [0.1, 0.3])
@pytest.mark.parametrize("rule", ["clip", "trim"])
def test_under_loss_the_honest_agree_still(rule: str, loss: float) -> None:
    society = Society(rule, "sign_flip", 4.0, rounds=12, link=Link((0.001, 0.002), loss=loss))
    assert society.spread() < 0.01 and 0.01 < society.deviation() <= 0.5
