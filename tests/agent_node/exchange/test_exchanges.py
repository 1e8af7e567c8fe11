"""Goals before an episode, traces after it, averaging in between: agents' sides of the conversations, joined by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import PolicySpec
from agent_node.exchange.goal_negotiation import CoordinationGame, GoalNegotiation
from agent_node.exchange.hindsight_exchange import HindsightExchange
from agent_node.exchange.parameter_averaging import SKETCH_SEED, ParameterAveraging, ProgressCounts, RoundReport
from agent_node.exchange.settings import ConsensusSettings, CoordinationGameSettings, HindsightSettings
from agent_node.goals.goal_sources import UniformGoals
from agent_node.goals.settings import UniformGoalSettings
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.settings import DoubleDQNSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.choco import ChocoAveraging
from protocols.averaging.projection_sketch import Projection
from protocols.averaging.push_sum import PushSum
from protocols.averaging.robust_averaging import VectorRuleAveraging
from protocols.averaging.rule_settings import CompressionSettings, rules_with
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.conversations.conversation import Conversation
from protocols.conversations.proposals import Negotiation
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.settings_types import Period
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.layout import Layout
from protocols.topology import TopologySettings, build
from tests.protocols.mixing_matrices import metropolis_weights

SPACE = FeatureSets(3)
MEMBERS = ["agent-0", "agent-1"]

ROBUST = rules_with("robust")


def deliver(machines: dict[str, Conversation[Any]], now: float = 0.0) -> None:
    """Carry messages between the machines until none has anything to send."""
    while sends := [(src, send) for src, machine in machines.items() for send in machine.outgoing()]:
        for src, send in sends:
            machines[send.dst].receive(src, send.message, send.arrays, now)


def offer(episodes: list[int], leader: int = 0, evaluation: int = 0, goal: int = -1) -> dict[str, Any]:
    n = len(episodes)
    return {
        "episode": np.array(episodes, np.int64),
        "copy": np.zeros(n, np.int32),
        "members": np.tile(np.array([leader, 1 - leader], np.int16), (n, 1)),
        "evaluation": np.full(n, evaluation, np.uint8),
        "goal": np.full(n, goal, np.int32),
    }


def ended(number: int, goal: Any, reward: float, evaluation: bool = False) -> Episode:
    """An episode of one step."""
    return Episode(
        number, np.zeros((2, 2), np.float32), np.zeros((1, 1), np.int32), np.full(1, reward, np.float32), True, goal, evaluation=evaluation
    )


def goal_exchanges(negotiating: bool = True, seed: int = 0) -> dict[str, GoalNegotiation]:
    made = {}
    for name in MEMBERS:
        game = CoordinationGame(CoordinationGameSettings(), SPACE.count) if negotiating else None
        negotiation = Negotiation(np.random.default_rng(1), 1.0, 30) if negotiating else None
        made[name] = GoalNegotiation(name, seed, UniformGoals(UniformGoalSettings(), SPACE.count), game, negotiation)
    return made


def test_both_sides_agree_and_only_real_records_reach_the_table() -> None:
    sides = goal_exchanges()
    for side in sides.values():
        side.offered(offer([7, 9]), MEMBERS, 0.0)
    deliver({name: side.negotiation for name, side in sides.items() if side.negotiation is not None})
    for side in sides.values():
        side.tick(0.0)
        answers = side.answers()
        assert answers is not None and sorted(answers["episode"].tolist()) == [7, 9] and answers["negotiated"].all()
        assert side.answers() is None
        side.offered(offer([7]), MEMBERS, 0.0)
        assert side.answers() is not None, "an offer that is repeated is answered again"
    a, b = (sides[name].agreement(7) for name in MEMBERS)
    assert a is not None and b is not None and a.message == b.message and a.leader == "agent-0"
    sides["agent-0"].episode_ended(ended(7, a.goal, 1.0))
    sides["agent-1"].episode_ended(ended(7, b.goal, 0.0, evaluation=True))
    first, second = sides["agent-0"].table, sides["agent-1"].table
    assert (
        isinstance(first, CoordinationGame) and first.table[a.goal, a.message] == pytest.approx(0.1) and np.count_nonzero(first.table) == 1
    )
    assert not second.table.any(), "evaluations teach nothing"
    late = sides["agent-1"].agreement(9)
    assert late is not None and late.negotiated
    sides["agent-1"].episode_ended(ended(9, (late.goal + 1) % SPACE.count, 1.0))
    assert not second.table.any(), "the reward of a goal that the server chose, since the answer was late, is no evidence for the message"


def test_a_deaf_partner_leaves_both_with_goals_of_their_own() -> None:
    sides = goal_exchanges()
    for side in sides.values():
        side.offered(offer([7]), MEMBERS, 0.0)
    for side in sides.values():
        assert side.negotiation is not None
        side.negotiation.outgoing()
        side.tick(0.0)
        assert side.answers() is None, "nothing is decided before the deadline"
        side.negotiation.tick(1.0)
        side.tick(1.0)
        answers = side.answers()
        assert answers is not None and answers["negotiated"].tolist() == [0] and 0 <= answers["goal"][0] < SPACE.count
        agreement = side.agreement(7)
        assert agreement is not None
        side.episode_ended(ended(7, agreement.goal, 1.0))
        assert isinstance(side.table, CoordinationGame) and not side.table.table.any(), "what was not negotiated is not in the table"


def test_goals_do_not_depend_on_the_order_of_offers() -> None:
    one, other = goal_exchanges(negotiating=False), goal_exchanges(negotiating=False)
    one["agent-0"].offered(offer([1, 2, 3]), MEMBERS, 0.0)
    other["agent-0"].offered(offer([3, 1, 2]), MEMBERS, 0.0)
    for episode in (1, 2, 3):
        a, b = one["agent-0"].agreement(episode), other["agent-0"].agreement(episode)
        assert a is not None and b is not None and a.goal == b.goal
    assert one["agent-0"].agreement(1) is not other["agent-0"].agreement(1)


def test_assigned_goals_are_taken_without_a_word() -> None:
    sides = goal_exchanges()
    for side in sides.values():
        side.offered(offer([4], evaluation=1, goal=5), MEMBERS, 0.0)
        answers = side.answers()
        assert answers is not None and answers["goal"].tolist() == [5] and answers["negotiated"].tolist() == [0]
        assert side.negotiation is not None and not side.negotiation.outgoing()


def test_traces_complete_the_buffer_with_what_both_touched() -> None:
    features = Features(Layout(shape=[2], actions=[3]), 1)
    settings = HindsightSettings()
    buffers = {name: ReplayBuffer(1000, features, SPACE) for name in MEMBERS}
    sides = {name: HindsightExchange(settings, SPACE, buffers[name], np.random.default_rng(0)) for name in MEMBERS}
    touched = {"agent-0": np.zeros((6, 3), np.uint8), "agent-1": np.zeros((6, 3), np.uint8)}
    touched["agent-0"][2:, 0] = 1
    touched["agent-1"][4:, 2] = 1
    for name, goal in zip(MEMBERS, (0, 2), strict=True):
        episode = Episode(
            3, np.zeros((6, 2), np.float32), np.zeros((5, 1), np.int32), np.zeros(5, np.float32), False, goal, touched[name].copy()
        )
        buffers[name].add(episode)
        sides[name].finished(episode, tuple(m for m in MEMBERS if m != name), 0.0)
    assert all(buffer.joint_count == 0 for buffer in buffers.values())
    deliver({name: side.machine for name, side in sides.items()})
    for name, side in sides.items():
        side.attach()
        assert side.complete == 1 and side.incomplete == 0 and buffers[name].joint_count == 5
        data = buffers[name].model_data(200, np.random.default_rng(0))
        assert data.achieved is not None and data.achieved.max(axis=0).tolist() == [1, 0, 1]
        # The pair {0, 2} was reached together: hindsight may teach it to either, although neither pursued it.
        sample = buffers[name].sample(64, np.random.default_rng(0), 1.0, ["joint"])
        assert set(sample.goal[sample.relabelled].tolist()) == {SPACE.index((0, 2))} and sample.reward.max() == 1.0


def test_an_episode_without_partners_is_complete_at_once() -> None:
    buffer = ReplayBuffer(1000, Features(Layout(shape=[2], actions=[3]), 1), SPACE)
    side = HindsightExchange(HindsightSettings(), SPACE, buffer, np.random.default_rng(0))
    achieved = np.zeros((6, 3), np.uint8)
    achieved[3:, 1] = 1
    episode = Episode(3, np.zeros((6, 2), np.float32), np.zeros((5, 1), np.int32), np.zeros(5, np.float32), False, 0, achieved)
    buffer.add(episode)
    side.finished(episode, (), 0.0)
    side.attach()
    assert side.complete == 1 and buffer.joint_count == 5
    data = buffer.model_data(100, np.random.default_rng(0))
    assert data.achieved is not None and data.achieved.max(axis=0).tolist() == [0, 1, 0]


def learners(n: int) -> list[DoubleDQN]:
    return [DoubleDQN(DoubleDQNSettings(hidden=[8]), PolicySpec((3,), 2, (4,)), 1, seed) for seed in range(n)]


def applied(side: ParameterAveraging) -> list[RoundReport]:
    """Rounds that have closed and are applied now."""
    side.apply()
    return side.take_reports()


def test_averaging_moves_live_parameters_by_the_mixing_matrix() -> None:
    names = [f"agent-{i}" for i in range(4)]
    graph = build(TopologySettings(kind="path"), names)
    mixing = metropolis_weights(graph)
    agents = learners(4)
    settings = ConsensusSettings(mode="mh", groups=["critic"], every=Period(updates=10))
    sides = {}
    for i, name in enumerate(names):
        weights = {peer: float(mixing[i, names.index(peer)]) for peer in graph.neighbors(name)}
        sides[name] = ParameterAveraging(settings, FixedNeighbourhood(weights), [agents[i]])
    before = np.stack([agent.online.vector.detach().numpy().copy() for agent in agents])
    for side in sides.values():
        side.consider(ProgressCounts(0, 0, 0, 0.0), 0.0)
        assert not side.machine.open, "a period must pass first"
    sides["agent-0"].consider(ProgressCounts(10, 0, 0, 0.0), 0.0)
    agents[3].online.vector.data += 1.0  # learnt after the round's first vector was sent, before its own began
    for _ in range(4):
        deliver({name: side.machine for name, side in sides.items()})
        for side in sides.values():
            side.consider(ProgressCounts(3, 0, 0, 0.0), 0.0)  # pulled into the round by the neighbour, before the own period is over
    before[3] += 1.0
    agents[0].online.vector.data += 5.0  # learnt while the round was open: must survive it
    reports = [applied(side) for side in sides.values()]
    assert all(len(report) == 1 and report[0].round == 0 and report[0].missing == 0 for report in reports)
    after = np.stack([agent.online.vector.detach().numpy() for agent in agents])
    expected = mixing @ before
    expected[0] += 5.0
    assert after == pytest.approx(expected, abs=1e-5)
    for i, report in enumerate(reports):
        assert report[0].sketch is not None and report[0].sketch.shape[0] == 2, i
    agents[1].online.vector.data += 2.0  # learnt since: messages contain the current model
    for agent, side in zip(agents, sides.values(), strict=True):
        now = np.concatenate([agent.online.vector.detach().numpy(), agent.target.vector.detach().numpy()])
        np.testing.assert_allclose(side.shared_arrays()["models"], Projection(SKETCH_SEED).sketch(now), rtol=1e-5)
    sides["agent-0"].consider(ProgressCounts(12, 0, 0, 0.0), 0.0)
    assert not sides["agent-0"].machine.open


def test_averaging_moves_tables_of_conventions_and_training_goes_on_with_them() -> None:
    games = [CoordinationGame(CoordinationGameSettings(messages=5), 3) for _ in range(2)]
    games[0].update([(0, 1, 1.0), (2, 4, 0.5)])
    before = np.stack([game.table.copy() for game in games])
    settings = ConsensusSettings(mode="mh", groups=["convention"], every=Period(episodes=10))
    sides = {
        name: ParameterAveraging(settings, FixedNeighbourhood({peer: 0.5}), [game])
        for game, name, peer in zip(games, "ab", "ba", strict=True)
    }
    for episodes in (0, 10):
        for side in sides.values():
            side.consider(ProgressCounts(0, episodes, 0, 0.0), 0.0)
    deliver({name: side.machine for name, side in sides.items()})
    for side in sides.values():
        side.apply()
    for game in games:
        np.testing.assert_allclose(game.table, before.mean(axis=0), rtol=1e-6)
    random = np.random.default_rng(0)
    assert games[1].follow(games[0].lead(0, random, greedy=True), random, greedy=True) == 0
    games[1].load_state_dict(games[0].state_dict())
    games[1].update([(1, 0, 1.0)])
    assert games[1].parameter_groups()["convention"][0].numpy().tolist() == games[1].table.tolist(), "one memory"


def run_free(n: int, seconds: float, loss: float = 0.0) -> tuple[np.ndarray, list[dict[int, np.ndarray]]]:
    """A ring whose agents learn at paces of their own, over links with delays of their own: the vectors at the start, and after each round
    those of each agent. Nothing is learnt, so that only the averaging moves them."""
    random = np.random.default_rng(3)
    names = [f"agent-{i}" for i in range(n)]
    graph = build(TopologySettings(kind="ring"), names)
    mixing = metropolis_weights(graph)
    agents = learners(n)
    settings = ConsensusSettings(mode="mh", groups=["critic"], every=Period(updates=10))
    sides = {
        name: ParameterAveraging(
            settings, FixedNeighbourhood({peer: float(mixing[i, names.index(peer)]) for peer in graph.neighbors(name)}), [agents[i]]
        )
        for i, name in enumerate(names)
    }
    paces = {name: float(pace) for name, pace in zip(names, random.uniform(50.0, 400.0, n), strict=True)}
    start = np.stack([agent.online.vector.detach().numpy().copy() for agent in agents]).astype(np.float64)
    found: list[dict[int, np.ndarray]] = [{} for _ in names]
    way: list[tuple[float, int, str, Any]] = []
    arrival: dict[tuple[str, str], float] = {}
    for step in range(int(seconds / 0.002)):
        now = step * 0.002
        for item in sorted(item[:2] for item in way if item[0] <= now):
            _, _, src, send = next(one for one in way if one[:2] == item)
            sides[send.dst].machine.receive(src, send.message, send.arrays, now)
        way = [item for item in way if item[0] > now]
        for i, (name, side) in enumerate(sides.items()):
            side.machine.tick(now)
            reports = applied(side)
            side.consider(ProgressCounts(int(paces[name] * now), 0, 0, now), now)
            # A round may close as it begins: the vector after each is wanted.
            before = agents[i].online.vector.detach().numpy().astype(np.float64)
            for vector, closed in ((before, reports), (None, applied(side))):
                assert len(closed) <= 1
                for report in closed:
                    after = agents[i].online.vector.detach().numpy().astype(np.float64)
                    found[i][report.round] = after if vector is None else vector
            for send in side.machine.outgoing():
                if random.random() < loss:
                    continue
                link = (name, send.dst)
                arrival[link] = max(arrival.get(link, 0.0), now + float(random.exponential(0.02)))  # as TCP does: in order
                way.append((arrival[link], len(way) + 1000 * step, name, send))
    return start, found


def test_free_running_agents_keep_the_mean_exactly_where_nothing_is_lost() -> None:
    """For all paces and delays: no agent closes a round without the slower neighbours because the faster ones have continued."""
    start, found = run_free(6, 4.0)
    rounds = min(max(one) for one in found)
    assert rounds > 25
    mean, spread = start.mean(axis=0), start.std(axis=0).max()
    for number in range(rounds + 1):
        vectors = np.stack([one[number] for one in found])
        assert np.abs(vectors.mean(axis=0) - mean).max() < 1e-5 * spread, f"round {number}"
    assert vectors.std(axis=0).max() < 1e-2 * spread


def test_lost_vectors_hold_nobody_up_until_the_deadline() -> None:
    """A neighbour that has gone on has sent its vector: it is lost, and waited for no longer than neighbours usually take."""
    _, found = run_free(6, 8.0, loss=0.05)
    assert min(max(one) for one in found) > 20, "8 s have room for four deadlines"


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("pushsum", PushSum),
        ("mh", SynchronousAveraging),
        ("choco", ChocoAveraging),
        *((rule, VectorRuleAveraging) for rule in ROBUST),
    ],
)
def test_the_mode_decides_what_averages(mode: Any, kind: type) -> None:
    settings = ConsensusSettings(mode=mode, groups=["critic"], compression=CompressionSettings(kind="quantise", bits=8), step_size=0.5)
    machine = ParameterAveraging(settings, FixedNeighbourhood({"b": 0.5}), learners(1)).machine
    assert type(machine) is kind
    if isinstance(machine, ChocoAveraging):
        assert machine.step == 0.5


def test_who_returns_does_not_learn_before_it_has_the_model_of_its_neighbours() -> None:
    agents = learners(2)
    settings = ConsensusSettings(groups=["critic"], every=Period(updates=10))
    assert settings.mode == "pushsum"
    stayed = ParameterAveraging(settings, FixedNeighbourhood({"b": 0.5}), [agents[0]], 1)
    returned = ParameterAveraging(settings, FixedNeighbourhood({"a": 0.5}), [agents[1]], 2, rejoin=True)
    sides = {"a": stayed, "b": returned}
    before = agents[0].online.vector.detach().numpy().copy()
    for now in range(2):
        for side in sides.values():
            side.consider(ProgressCounts(0, 0, 0, float(now)), float(now))
    assert returned.pauses_learning and returned.machine.open, "it asks at once"
    assert not stayed.pauses_learning and not stayed.machine.open
    stayed.consider(ProgressCounts(10, 0, 0, 2.0), 2.0)
    deliver({name: side.machine for name, side in sides.items()})
    (report,) = applied(returned)
    assert not returned.pauses_learning and report.used == 1 and report.missing == 0
    assert agents[1].online.vector.detach().numpy() == pytest.approx(before, abs=1e-6)
    returned.consider(ProgressCounts(0, 0, 0, 4.0), 4.0)
    assert not returned.machine.open, "from now on by periods"


def test_who_is_cut_off_goes_on_learning() -> None:
    settings = ConsensusSettings(groups=["critic"], every=Period(updates=10))
    side = ParameterAveraging(settings, FixedNeighbourhood({"b": 0.3, "c": 0.3}), learners(1), 1)
    for peer in "bc":
        side.machine.peer_alive(peer, 1, 0.0)
    for step in range(1, 20):
        side.machine.tick(5.0 * step)
        side.consider(ProgressCounts(10 * step, 0, 0, 5.0 * step), 5.0 * step)
        applied(side)
        side.machine.outgoing()
    assert side.machine.mass < 0.1 and not side.pauses_learning, "its mass is on its way, but its model is here"


def test_rounds_that_fell_apart_stand_for_the_same_time_again() -> None:
    """Else the disagreement of a round would be that of agents at different times, once a split is healed."""
    settings = ConsensusSettings(groups=["critic"], every=Period(updates=10))
    sides = {name: ParameterAveraging(settings, FixedNeighbourhood({peer: 0.5}), learners(1), 1) for name, peer in ("ab", "ba")}
    done = dict.fromkeys(sides, 0)
    sketched: dict[str, list[int]] = {name: [] for name in sides}

    def play(paces: dict[str, int], split: bool, now: float) -> None:
        for name, side in sides.items():
            done[name] += paces[name]
            side.machine.tick(now)
            side.consider(ProgressCounts(done[name], 0, 0, now), now)
        if split:
            for side in sides.values():
                side.machine.outgoing()
        else:
            deliver({name: side.machine for name, side in sides.items()}, now)
        for name, side in sides.items():
            sketched[name] += [report.round for report in applied(side) if report.sketch is not None]

    for step in range(120):
        play({"a": 10, "b": 4}, split=True, now=3.0 * step)
    apart = [side.machine.round for side in sides.values()]
    assert apart[0] > apart[1] + 5
    for step in range(120, 160):
        play({"a": 10, "b": 10}, split=False, now=3.0 * step)
    assert sides["a"].machine.round == sides["b"].machine.round
    late = {name: [number for number in numbers if number > apart[0] + 5] for name, numbers in sketched.items()}
    assert late["a"] == late["b"] and len(late["a"]) >= 5


def test_a_slower_agent_says_how_far_it_is_in_each_five_rounds_that_it_takes_part_in() -> None:
    settings = ConsensusSettings(groups=["critic"], every=Period(updates=10))
    sides = {name: ParameterAveraging(settings, FixedNeighbourhood({peer: 0.5}), learners(1), 1) for name, peer in ("ab", "ba")}
    keys: dict[str, list[int]] = {name: [] for name in sides}
    for step in range(1, 90):
        for name, side in sides.items():
            side.machine.tick(float(step))
            side.consider(ProgressCounts(10 * step if name == "a" else 10 * (step // 3), 0, 0, float(step)), float(step))
        deliver({name: side.machine for name, side in sides.items()}, float(step))
        for name, side in sides.items():
            keys[name] += [report.common_round for report in applied(side) if report.sketch is not None]
    assert keys["b"] and set(keys["b"]) <= set(keys["a"]) and len(keys["b"]) == len(set(keys["b"])) > 5


def test_groups_that_nobody_has_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"policy.*critic"):
        ParameterAveraging(ConsensusSettings(groups=["policy"]), FixedNeighbourhood({"b": 0.5}), learners(1))
    assert isinstance(learners(1)[0].online.vector, torch.Tensor)
