"""Reward collection in K copies: scripted collectors, episodes, presence."""

from __future__ import annotations

import numpy as np
import pytest

from env_server.environments.environment_contracts import AgentBatch, EpisodeRecord, GoalEnvironment, TickResult
from env_server.environments.reward_collection.collection_environment import VectorRewardCollection
from env_server.environments.reward_collection.collection_physics import reward_map
from env_server.environments.reward_collection.settings import RewardCollectionOptions
from env_server.metrics.episode_statistics import EpisodeCounters
from protocols.conversations.stepping.stepping_messages import Flag
from tests.env_server.environments.flag_rules import FlagRules

AGENTS = tuple(f"agent-{i}" for i in range(5))
M, FIRST, TRUNCATED, OVER, EVALUATION = (int(f) for f in (Flag.MEMBER, Flag.FIRST, Flag.TRUNCATED, Flag.OVER, Flag.EVALUATION))
BEST = {"agent-0": (2, -5), "agent-1": (-2, 0), "agent-2": (-6, 5), "agent-3": (-2, 0), "agent-4": (2, -5)}
"""the site worth 1 that is nearest to each start, counted in steps"""


def make(copies: int = 1, agents: tuple[str, ...] = AGENTS, seed: int = 0, **options: object) -> VectorRewardCollection:
    return VectorRewardCollection(RewardCollectionOptions(**options), agents, copies, seed)  # type: ignore[arg-type]


def towards(outcome: TickResult, targets: dict[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    """The whole way to a target or as much of it as one step can go, on each axis."""
    return {a: np.clip(np.array(t, np.float32) - outcome.agents[a].observation, -1, 1) for a, t in targets.items()}


def at_random(generator: np.random.Generator, copies: int, agents: tuple[str, ...] = AGENTS) -> dict[str, np.ndarray]:
    return {agent: generator.uniform(-1.5, 1.5, (copies, 2)).astype(np.float32) for agent in agents}


def play(environment: VectorRewardCollection, targets: dict[str, tuple[float, float]]) -> tuple[list[TickResult], EpisodeRecord]:
    """One episode of scripted collectors: its outcomes, the reset first, and what was recorded of copy 0."""
    outcomes = [environment.reset()]
    while not int(outcomes[-1].agents["agent-0"].flags[0]) & OVER:
        outcomes.append(environment.step(towards(outcomes[-1], targets)))
    return outcomes, environment.finished()[0]


def rewards(outcomes: list[TickResult], agent: str) -> np.ndarray:
    return np.array([outcome.agents[agent].reward[0] for outcome in outcomes[1:]])


def test_straight_ways_to_the_best_sites_give_488() -> None:
    outcomes, record = play(make(gain_std=0), BEST)
    assert len(outcomes) == 101 and record.lengths == (100,) * 5 and record.members == AGENTS
    paid_from = [int(np.argmax(rewards(outcomes, agent) == 1)) + 1 for agent in AGENTS]
    assert paid_from == [5, 6, 1, 4, 1]
    for agent, first in zip(AGENTS, paid_from, strict=True):
        assert (rewards(outcomes, agent)[first - 1 :] == 1).all(), "a site pays at every step, and every agent that is there"
    crossed = sum(float(rewards(outcomes, agent)[: first - 1].sum()) for agent, first in zip(AGENTS, paid_from, strict=True))
    assert crossed == 0.0, "no small site is on these paths"
    assert sum(record.rewards) == 488.0 and record.rewards == (96, 95, 100, 97, 100)
    assert record.metrics == {"sites.visited": pytest.approx(0.3)}


def test_a_small_site_on_the_way_pays_too() -> None:
    """From (6, 0) straight left: 0.1 at (2, 0), 1 at (-2, 0). Steps land on whole numbers, and 0.5 off a site is not at it."""
    outcomes, record = play(make(gain_std=0), {"agent-0": (-2, 0)})
    assert rewards(outcomes, "agent-0")[:9].tolist() == pytest.approx([0, 0, 0, 0.1, 0, 0, 0, 1, 1])
    assert record.rewards[0] == pytest.approx(93.1)
    half = make(gain_std=0)
    half.reset()
    half.step({"agent-0": np.array([[-0.5, 0]], np.float32)})  # from 0.5 at (6, 0) to its very edge
    assert half._worlds.position[0, 0].tolist() == [5.5, 0] and half._earned[0, 0] == 0
    half.step({"agent-0": np.array([[2**-20, 0]], np.float32)})
    assert half._earned[0, 0] == 0.5


def test_the_life_of_an_episode() -> None:
    environment = make(copies=3, horizon=4)
    outcomes = [environment.reset(5)] + [environment.step({}) for _ in range(6)]
    flags = [outcome.agents["agent-3"].flags.tolist() for outcome in outcomes]
    end = M | TRUNCATED | OVER
    assert flags == [[mark] * 3 for mark in (M | FIRST, M, M, M, end, M | FIRST, M)], "a limit cuts off, nothing terminates"
    assert [outcome.episode.tolist() for outcome in outcomes] == [[0, 1, 2]] * 5 + [[3, 4, 5]] * 2
    assert not isinstance(environment, GoalEnvironment)
    first, again = outcomes[0].agents["agent-1"].observation, outcomes[5].agents["agent-1"].observation
    assert np.array_equal(first, again) and first.dtype == np.float32, "every episode starts at the same places"
    assert [record.episode for record in environment.finished()] == [0, 1, 2] and environment.finished() == []
    later = environment.reset(5, 2**40)
    assert (later.episode - 2**40).tolist() == [0, 1, 2] and environment.finished() == []


@pytest.mark.parametrize(
    "options", [{}, {"variant": "far"}, {"exclusive": True, "action_cost": 0.3}, {"process_noise": 0.2}, {"sites": 64, "horizon": 1}]
)
def test_flags_and_records_keep_the_contract(options: dict[str, object]) -> None:
    environment = make(copies=4, **{"horizon": 13, **options})
    rules, generator, records = FlagRules(environment), np.random.default_rng(1), []
    rules.check(environment.reset(2))
    for _ in range(60):
        rules.check(environment.step(at_random(generator, 4)))
        records += environment.finished()
    rules.check_records(records)
    assert len(records) == 4 * (60 // (environment.options.horizon + 1))


def test_positions_follow_the_gains_and_stop_at_the_walls() -> None:
    environment = make(copies=2, agents=AGENTS[:2], seed=3)
    outcome, generator = environment.reset(), np.random.default_rng(0)
    there = np.stack([outcome.agents[a].observation for a in AGENTS[:2]], axis=1).astype(float)
    touched_wall = False
    for _ in range(100):
        actions = {a: (2.0 * v + 0.3).astype(np.float32) for a, v in at_random(generator, 2, AGENTS[:2]).items()}
        outcome = environment.step(actions)
        moves = np.stack([np.clip(actions[a], -1, 1) for a in AGENTS[:2]], axis=1)
        there = np.clip(there + environment.gains * moves, -10, 10)
        seen = np.stack([outcome.agents[a].observation for a in AGENTS[:2]], axis=1)
        assert seen == pytest.approx(there, abs=1e-5)
        touched_wall |= bool((np.abs(seen) == 10).any())
    assert touched_wall


def test_no_number_is_no_move() -> None:
    environment = make(gain_std=0, agents=AGENTS[:1])
    environment.reset()
    outcome = environment.step({"agent-0": np.array([[np.nan, np.inf]], np.float32)})
    assert outcome.agents["agent-0"].observation.tolist() == [[0, 1]]


def test_gains_belong_to_the_run() -> None:
    """Equal in all copies, in training and evaluation, after a restart from the same seed; another seed has others."""
    environment = make(copies=4, horizon=2)
    environment.reset(11)
    gains = environment.gains
    environment.evaluate(2, aligned=True)
    push = {agent: np.ones((4, 2), np.float32) for agent in AGENTS}
    moved = []
    for tick in range(9):
        outcome = environment.step(push)
        if tick % 3 == 0:
            moved.append(np.stack([outcome.agents[a].observation for a in AGENTS]))
    evaluations = [record.evaluation for record in environment.finished()]
    assert evaluations == [False] * 4 + [True, True, False, False] + [False] * 4
    assert all(np.array_equal(places, moved[0]) for places in moved[1:]) and (moved[0] == moved[0][:, :1]).all()
    other = make(copies=1, seed=11)
    other.reset()
    assert np.array_equal(other.gains, gains)
    other.reset(12)
    assert not np.isclose(other.gains, gains).any()


def test_evaluations_are_flagged() -> None:
    environment = make(copies=2, horizon=2)
    environment.evaluate(3, aligned=False)
    environment.step({})
    marks = [environment.reset().agents["agent-0"].flags.tolist()]
    environment.evaluate(3, aligned=False)
    marks += [environment.step({}).agents["agent-0"].flags.tolist() for _ in range(9)]
    assert marks[0] == [M | FIRST] * 2, "a reset forgets what was asked for"
    both, one = M | EVALUATION, [M | EVALUATION, M]
    assert marks[3] == [both | FIRST] * 2 and marks[4] == [both] * 2 and marks[5] == [both | TRUNCATED | OVER] * 2
    assert marks[7] == one and marks[9] == [M | FIRST] * 2


def test_own_and_team_reward() -> None:
    own, team = make(gain_std=0, action_cost=0.5), make(gain_std=0, action_cost=0.5, reward="team")
    (mine, own_record), (ours, team_record) = play(own, BEST), play(team, BEST)
    every = np.stack([rewards(mine, agent) for agent in AGENTS])
    for agent in AGENTS:
        assert rewards(ours, agent) == pytest.approx(every.sum(axis=0), abs=1e-5)
    assert own_record.rewards == team_record.rewards, "metrics count the own reward of each, whatever it was given"
    assert every[0, 0] == -1.0, "two axes at full thrust, half a unit each"


def test_the_action_costs_what_was_done() -> None:
    environment = make(gain_std=0, action_cost=1.0, agents=AGENTS[:2])
    environment.reset()
    outcome = environment.step({"agent-0": np.array([[-5, 0.25]], np.float32)})
    assert outcome.agents["agent-0"].reward[0] == -1.25, "the part of an action beyond its bounds is free, as it does nothing"
    assert outcome.agents["agent-1"].reward[0] == 0.5, "two agents start on sites"


def test_exclusive_sites_are_shared() -> None:
    outcomes, record = play(make(gain_std=0, exclusive=True), BEST)
    assert [outcomes[-1].agents[agent].reward[0] for agent in AGENTS] == [0.5, 0.5, 1, 0.5, 0.5]
    assert [outcomes[2].agents[agent].reward[0] for agent in AGENTS] == [0, 0, 1, 0, 1], "alone it has all of it"
    assert sum(record.rewards) == 100 + 100 + 97, "three sites, occupied from steps 1, 1 and 4 on"


def test_who_is_away_stays_where_it_was_and_the_others_go_on() -> None:
    environment = make(gain_std=0, exclusive=True)
    outcome = environment.reset()
    for _ in range(6):
        outcome = environment.step(towards(outcome, BEST))
    environment.set_present([agent for agent in AGENTS if agent != "agent-4"])
    push = {agent: np.zeros((1, 2), np.float32) for agent in AGENTS} | {"agent-4": np.ones((1, 2), np.float32)}
    before = environment._worlds.position.copy()
    for _ in range(10):
        outcome = environment.step(push)
        assert [outcome.agents[agent].reward[0] for agent in AGENTS] == [1, 0.5, 1, 0.5, 0], "and it shares no site"
        assert all(int(outcome.agents[agent].flags[0]) == M for agent in AGENTS), "no absence ends an episode"
    assert np.array_equal(environment._worlds.position, before)
    environment.set_present(AGENTS)
    outcome = environment.step(dict.fromkeys(AGENTS, push["agent-0"]))
    assert [outcome.agents[agent].reward[0] for agent in AGENTS] == [0.5, 0.5, 1, 0.5, 0.5]
    for _ in range(83):
        outcome = environment.step({})
    assert outcome.agents["agent-0"].flags[0] == M | TRUNCATED | OVER
    (record,) = environment.finished()
    assert not record.peer_lost and record.members == AGENTS


def test_episodes_with_noise_are_repeatable_whatever_the_order() -> None:
    def ways(copies: int) -> dict[int, np.ndarray]:
        environment = make(copies, process_noise=0.3, horizon=70)
        seen: dict[int, list[AgentBatch]] = {}
        outcome = environment.reset(4)
        while outcome.episode.min() < 8:
            for copy, episode in enumerate(outcome.episode.tolist()):
                seen.setdefault(episode, []).append(outcome.agents["agent-2"].observation[copy])
            outcome = environment.step({"agent-2": np.full((copies, 2), -0.1, np.float32)})
        return {episode: np.array(way) for episode, way in seen.items()}

    alone, together = ways(1), ways(8)
    assert alone.keys() == together.keys() == set(range(8))
    for episode, way in alone.items():
        assert np.array_equal(way, together[episode]) and way.shape == (71, 2)
    assert not np.array_equal(alone[0], alone[1])
    steps = np.concatenate([np.diff(way[:25], axis=0) for way in alone.values()])
    assert abs(steps.std() - 0.3) < 0.03, "far from the walls"


def test_resets_repeat_themselves() -> None:
    environment = make(copies=3, process_noise=0.1, horizon=10)

    def run() -> list[TickResult]:
        generator = np.random.default_rng(0)
        return [environment.reset(9, 50)] + [environment.step(at_random(generator, 3)) for _ in range(25)]

    for one, other in zip(run(), run(), strict=True):
        assert np.array_equal(one.episode, other.episode)
        for agent in AGENTS:
            a, b = one.agents[agent], other.agents[agent]
            assert np.array_equal(a.observation, b.observation) and np.array_equal(a.reward, b.reward) and np.array_equal(a.flags, b.flags)


def test_outcomes_belong_to_the_receiver() -> None:
    environment = make(copies=2)
    first = environment.reset(0)
    kept = first.agents["agent-0"].observation.copy()
    environment.step(at_random(np.random.default_rng(0), 2))
    assert np.array_equal(first.agents["agent-0"].observation, kept)
    first.agents["agent-0"].observation[:] = 99
    assert abs(environment.step({}).agents["agent-0"].observation).max() <= 10


def test_visited_sites_become_a_figure() -> None:
    statistics = EpisodeCounters(None, 10)
    statistics.expect(1, aligned=False)
    _, record = play(make(gain_std=0), BEST)
    _, less = play(make(gain_std=0), {"agent-0": (2, -5)})
    evaluated = EpisodeRecord(**{**vars(less), "evaluation": True})
    statistics.add([record, less, evaluated, EpisodeRecord(9, AGENTS, (1.0,) * 5, (100,) * 5)])
    window = statistics.window()
    assert window["sites.visited"] == pytest.approx(0.2), "over the episodes that have the figure"
    assert window["return"] == pytest.approx((488 + 96 + 5) / 3)
    evaluation = statistics.evaluation()
    assert evaluation is not None
    assert evaluation == pytest.approx({"eval.own.return": 96, "eval.own.length": 100, "eval.own.sites.visited": 0.1})


def test_everybody_sees_the_same_layout_and_nobody_else_any() -> None:
    environment = make()
    assert all(environment.layout(agent) == environment.layout("agent-0") for agent in AGENTS)
    with pytest.raises(KeyError):
        environment.layout("agent-5")


def test_pictures_show_sites_agents_and_ways() -> None:
    environment = make(copies=65, gain_std=0)
    environment.reset()
    start = environment.render(0)
    assert start.shape == (480, 480, 3) and start.dtype == np.uint8
    outcome = environment.step({})
    assert np.array_equal(environment.render(0), start), "who stays leaves no way"
    for _ in range(7):
        outcome = environment.step(towards(outcome, BEST))
    later, unseen = environment.render(0), environment.render(64)
    differs = (later != unseen).any(axis=2)
    assert not np.array_equal(later, start) and 200 < differs.sum() < 20_000, "copies beyond the first 64 are drawn without ways"
    x, y = (round((value + 10.4) * 480 / 20.8) for value in reward_map(environment.options).sites[2])
    assert (later[480 - y, x] != start[480 - y, x]).any(), "agent 0 stands at the site worth 1"
