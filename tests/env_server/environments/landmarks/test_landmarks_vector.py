"""The lifecycle of episodes in the vectorised landmarks environment."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from env_server.environments.environment_contracts import EpisodeRecord, GoalEnvironment, OfferedEpisode, TickResult
from env_server.environments.episode_schedule import Pairing, lead
from env_server.environments.landmarks import parallel_env
from env_server.environments.landmarks.landmarks_environment import VectorLandmarks
from env_server.environments.landmarks.settings import LandmarksOptions
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from tests.env_server.environments.flag_rules import FlagRules

AGENTS = tuple(f"agent-{i}" for i in range(4))
RING = [("agent-0", "agent-1"), ("agent-1", "agent-2"), ("agent-2", "agent-3"), ("agent-3", "agent-0")]


class Player:
    """Answers every offer and acts at random, all from one seed."""

    def __init__(self, environment: VectorLandmarks, seed: int = 0) -> None:
        self.environment = environment
        self.generator = np.random.default_rng(seed)
        self.offers: dict[int, OfferedEpisode] = {}
        self.records: list[EpisodeRecord] = []

    def tick(self) -> TickResult:
        environment = self.environment
        for offer in environment.offers():
            assert offer.episode not in self.offers
            self.offers[offer.episode] = offer
            for agent in offer.members:
                environment.set_goal(offer.episode, agent, int(self.generator.integers(environment.goal_space.count)), True)
        actions = {a: self.generator.choice([0, 1, 1, 2], size=(environment.copies, 2)).astype(np.int32) for a in environment.agents}
        outcome = environment.step(actions)
        self.records += environment.finished()
        return outcome


def make(copies: int = 8, edges: list[tuple[str, str]] | None = RING, **options: object) -> VectorLandmarks:
    return VectorLandmarks(LandmarksOptions(**{"room": 200, "horizon": 12, **options}), AGENTS, copies, edges)


def flags(outcome: TickResult, agent: str) -> np.ndarray:
    return outcome.agents[agent].flags


@pytest.mark.parametrize(
    "options",
    [{}, {"landmarks": 6, "horizon": 40}, {"members": 3, "room": 300}, {"members": 1, "largest": 1}, {"smallest": 2, "velocity": True}],
)
def test_flags_and_records_keep_the_contract(options: dict[str, object]) -> None:
    environment = make(**options)
    assert isinstance(environment, GoalEnvironment)
    rules, player = FlagRules(environment), Player(environment)
    rules.check(environment.reset(7))
    for _ in range(150):
        outcome = player.tick()
        rules.check(outcome)
        members = sum((flags(outcome, agent) & Flag.MEMBER) > 0 for agent in AGENTS)
        assert set(np.unique(members)) <= {0, environment.options.members}
    rules.check_records(player.records)
    assert len(player.records) > 20
    assert all(record.members == player.offers[record.episode].members for record in player.records)


def test_nothing_starts_before_all_goals_are_there_and_the_first_value_wins() -> None:
    environment = make(copies=1)
    outcome = environment.reset(0)
    (offer,) = environment.offers()
    leader, follower = offer.members
    assert (offer.episode, offer.copy, offer.evaluation, offer.goal) == (0, 0, False, -1) and environment.offers() == []
    assert all(not flags(outcome, agent).any() for agent in AGENTS) and outcome.episode.tolist() == [-1]
    environment.set_goal(0, leader, 3, True)
    environment.set_goal(0, leader, 4, False)
    environment.set_goal(99, leader, 4, False)
    environment.set_goal(0, next(a for a in AGENTS if a not in offer.members), 4, False)
    assert environment.waiting() == [(0, follower)]
    assert not any(flags(environment.step({}), agent).any() for agent in AGENTS)
    environment.set_goal(0, follower, 5, False)
    assert environment.waiting() == []
    outcome = environment.step({})
    assert outcome.episode.tolist() == [0]
    for agent in AGENTS:
        assert flags(outcome, agent).tolist() == ([Flag.MEMBER | Flag.FIRST] if agent in offer.members else [0])
    assert [outcome.agents[agent].goal.tolist() for agent in (leader, follower)] == [[3], [5]]
    assert all(outcome.agents[agent].goal.tolist() == [-1] for agent in AGENTS if agent not in offer.members)
    assert outcome.agents[leader].observation.any() and [o.episode for o in environment.offers()] == [1]
    for _ in range(12):
        outcome = environment.step({})
    assert flags(outcome, leader).tolist() == [Flag.MEMBER | Flag.TRUNCATED | Flag.OVER]
    (record,) = environment.finished()
    assert record.goals == (3, 5) and not record.negotiated and record.lengths == (12, 12) and record.rewards == (0, 0)
    assert environment.waiting() == [], "the copy may still start at the next tick"
    environment.step({})
    assert {episode for episode, _ in environment.waiting()} == {1}
    with pytest.raises(ValueError, match="goal 6 of 6"):
        environment.set_goal(1, leader, 6, False)


def test_evaluations_come_first_by_choice_then_with_assigned_goals_in_turn() -> None:
    environment = make(copies=4)
    environment.reset(0)
    environment.evaluate(5, aligned=True)
    player = Player(environment)
    while len(player.offers) < 24:
        outcome = player.tick()
        for agent in AGENTS:
            for copy in np.flatnonzero(flags(outcome, agent) & Flag.MEMBER):
                marked = bool(flags(outcome, agent)[copy] & Flag.EVALUATION)
                assert marked == player.offers[int(outcome.episode[copy])].evaluation
    kinds = [(offer.evaluation, offer.goal) for offer in player.offers.values()]
    assert kinds[:14] == [(False, -1)] * 4 + [(True, -1)] * 5 + [(True, goal) for goal in range(5)]
    assert not any(evaluation for evaluation, _ in kinds[14:])
    while sum(record.assigned for record in player.records) < 5:
        player.tick()
    for record in player.records:
        if record.assigned:
            assert record.evaluation and len(set(record.goals)) == 1


def test_assigned_goals_need_no_answer() -> None:
    environment = make(copies=1, horizon=3)
    environment.reset(0)
    (offer,) = environment.offers()
    for agent in offer.members:
        environment.set_goal(0, agent, 0, True)
    environment.evaluate(0, aligned=True)
    environment._schedule.request(2, True)
    records: list[EpisodeRecord] = []
    for _ in range(40):
        for offer in environment.offers():
            if offer.goal < 0:
                for agent in offer.members:
                    environment.set_goal(offer.episode, agent, 0, False)
        environment.step({})
        records += environment.finished()
    assert [record.goals for record in records if record.assigned] == [(0, 0), (1, 1)]
    assert not any(record.negotiated for record in records[1:])


def test_who_leaves_ends_its_episodes_and_is_drawn_no_more() -> None:
    environment = make(copies=16, horizon=1000)
    environment.reset(1)
    environment.evaluate(40, aligned=False)
    player, rules = Player(environment), FlagRules(environment)
    for _ in range(5):
        rules.check(player.tick())
    hit = {int(c) for c in np.flatnonzero(flags(player.tick(), "agent-1") & Flag.MEMBER)}
    assert hit
    planned = [o for o in player.offers.values() if "agent-1" in o.members]
    environment.set_present([a for a in AGENTS if a != "agent-1"])
    redrawn = environment.offers()
    assert redrawn and all("agent-1" not in o.members for o in redrawn)
    assert min(o.episode for o in redrawn) > max(o.episode for o in planned)
    assert all(o.evaluation for o in redrawn), "evaluations that were drawn for the dead go to others"
    environment._offers = redrawn
    outcome = player.tick()
    assert not flags(outcome, "agent-1").any()
    lost = {}
    for agent in ("agent-0", "agent-2"):
        for copy in np.flatnonzero(flags(outcome, agent) & Flag.PEER_LOST):
            flag = Flag(int(flags(outcome, agent)[copy]))
            assert flag & Flag.OVER and flag & (Flag.TRUNCATED | Flag.PARKED)
            lost[int(copy)] = agent
    assert set(lost) == hit
    assert {r.episode for r in player.records if r.peer_lost} == {int(outcome.episode[copy]) for copy in hit}
    for _ in range(3):
        outcome = player.tick()
        assert not flags(outcome, "agent-1").any() and not any(flags(outcome, a).any() & Flag.PEER_LOST for a in AGENTS)
    assert all(sum(bool(flags(outcome, a)[copy]) for a in AGENTS) == 2 for copy in hit), "their copies play again"


def test_copies_idle_while_too_few_connected_agents_are_present() -> None:
    environment = make(copies=4)
    environment.reset(0)
    player = Player(environment)
    player.tick()
    environment.set_present(["agent-0", "agent-2"])  # opposite each other in the ring
    player.tick()
    for _ in range(4):
        outcome = player.tick()
        assert not any(flags(outcome, agent).any() for agent in AGENTS)
        assert environment.waiting() == []
    environment.set_present(["agent-0", "agent-2", "agent-3"])
    outcome = player.tick()
    assert all((flags(outcome, "agent-3") & Flag.FIRST) > 0) and not flags(outcome, "agent-1").any()


def test_two_resets_with_one_seed_are_equal_and_another_seed_differs() -> None:
    environment = make(landmarks=6)
    runs = []
    for seed in (5, 5, 6):
        outcomes = [environment.reset(seed)]
        environment.evaluate(3, True)
        player = Player(environment)
        outcomes += [player.tick() for _ in range(60)]
        runs.append((outcomes, dict(player.offers), player.records))
    assert runs[0][1:] == runs[1][1:] and runs[0][1] != runs[2][1]
    for one, two in zip(runs[0][0], runs[1][0], strict=True):
        assert np.array_equal(one.episode, two.episode)
        for agent in AGENTS:
            for field in ("observation", "reward", "flags", "achieved", "goal"):
                assert np.array_equal(getattr(one.agents[agent], field), getattr(two.agents[agent], field))


def test_a_server_that_was_started_again_goes_on_with_numbers_of_its_own() -> None:
    environment = make()
    environment.reset(5, 2**40)
    player = Player(environment)
    seen = set(np.concatenate([player.tick().episode for _ in range(60)]).tolist()) - {-1}
    assert seen and min(seen) == 2**40 and {record.episode for record in player.records} <= seen


@pytest.mark.parametrize("options", [{}, {"landmarks": 6, "members": 3, "room": 300, "velocity": True}])
def test_one_vector_step_equals_k_single_ones(options: dict[str, object]) -> None:
    options = {"room": 200, "horizon": 120, **options}
    environment = VectorLandmarks(LandmarksOptions(**options), AGENTS[: LandmarksOptions(**options).members], 6)
    environment.reset(2)
    player = Player(environment)
    player.tick()
    singles = []
    for copy in range(6):
        single = parallel_env(**options)
        single.reset(options={"goals": {f"agent_{m}": int(g) for m, g in enumerate(environment._goals[copy])}})
        single._bodies.position[0] = environment._bodies.position[copy]
        single._bodies.heading[0] = environment._bodies.heading[copy]
        singles.append(single)
    generator, width, ends = np.random.default_rng(1), environment.layout("agent-0").shape[0], 0
    actions: dict[str, np.ndarray] = {}
    for tick in range(120):
        if tick % 8 == 0:
            actions = {a: generator.choice([[1, 0], [1, 0], [1, 1], [1, 2], [2, 0]], size=6) for a in environment.agents}
        members = environment._members.copy()
        outcome = environment.step(actions)
        for copy, single in enumerate(singles):
            if not single.agents:
                continue
            slots = {agent: int(agent[-1]) for agent in single.agents}
            names = {agent: environment.agents[members[copy, slot]] for agent, slot in slots.items()}
            seen, reward, terminated, truncated, infos = single.step({agent: actions[name][copy] for agent, name in names.items()})
            for agent, name in names.items():
                batch = outcome.agents[name]
                assert np.allclose(seen[agent][:width], batch.observation[copy], atol=1e-6)
                assert reward[agent] == batch.reward[copy]
                assert terminated[agent] == bool(batch.flags[copy] & Flag.TERMINATED)
                assert truncated[agent] == bool(batch.flags[copy] & Flag.TRUNCATED)
                assert np.array_equal(infos[agent]["touched"], batch.achieved[copy])
                ends += terminated[agent]
    assert ends > 0


def test_invalid_actions_are_refused_by_name() -> None:
    environment = make(copies=2)
    environment.reset(0)
    player = Player(environment)
    player.tick()
    member = player.offers[0].members[0]
    with pytest.raises(ValueError, match=f"{member} chose"):
        environment.step({member: np.full((2, 2), 3, np.int32)})


def test_pairs_are_drawn_evenly_along_edges_and_leaders_in_turn() -> None:
    pairing = Pairing(AGENTS, RING, 2)
    drawn = [pairing.draw(3, episode) for episode in range(2000)]
    pairs = Counter(frozenset(members) for members in drawn)
    assert set(pairs) == {frozenset(edge) for edge in RING} and min(pairs.values()) > 420
    leaders = Counter(members[0] for members in drawn)
    assert min(leaders.values()) > 420
    assert drawn[:50] == [pairing.draw(3, episode) for episode in range(50)]
    assert all(members == lead(3, episode, reversed(members)) for episode, members in enumerate(drawn))


def test_larger_groups_are_connected() -> None:
    agents = [f"agent-{i}" for i in range(8)]
    path = list(pairwise(agents))
    pairing = Pairing(agents, path, 3)
    for episode in range(200):
        numbers = sorted(int(agent[-1]) for agent in pairing.draw(0, episode) or ())
        assert numbers == list(range(numbers[0], numbers[0] + 3))
    pairing.set_present([a for a in agents if a not in ("agent-2", "agent-5")])
    assert pairing.draw(0, 0) is None and pairing.never_drawn() == agents


def test_too_few_agents_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"raise agents\.count to at least 2"):
        VectorLandmarks(LandmarksOptions(), ["agent-0"], 1)


def test_a_picture_shows_walls_goals_and_bodies() -> None:
    environment = make(copies=2)
    environment.reset(0)
    idle = environment.render(1)
    player = Player(environment)
    player.tick()
    picture = environment.render(1)
    assert picture.shape == idle.shape == (480, 480, 3) and picture.dtype == np.uint8
    x, y = environment._bodies.position[1, 0] / 200 * 480
    around = picture[480 - int(y) - 30 : 480 - int(y) + 30, int(x) - 30 : int(x) + 30].reshape(-1, 3)
    assert (np.abs(around.astype(int) - (31, 119, 200)).sum(-1) < 6).sum() > 500, "the first body is blue"
    assert (picture != idle).any()
