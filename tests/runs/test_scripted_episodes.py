"""Policies that walk straight to a landmark, through everything that an episode goes through but the processes: the arena, the recorders
of both members, their traces over links that lose a fifth, and the buffers (dec_imsap, section 5.6, i to iv)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from agent_node.exchange.hindsight_exchange import HindsightExchange
from agent_node.exchange.settings import HindsightSettings
from agent_node.memory.episode import Episode
from agent_node.memory.goal_relabelling import Mark
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.acting import EpisodeRecorder
from agent_node.session.observation_features import Features
from env_server.environments.environment_contracts import EpisodeRecord
from env_server.environments.landmarks.landmarks_environment import VectorLandmarks
from env_server.environments.landmarks.settings import LandmarksOptions
from protocols.spaces.feature_sets import FeatureSets
from tests.walking import steer

AGENTS = ("agent-0", "agent-1")
COPIES = 24
LOSS = 0.2


@dataclass
class Played:
    """The view of each side of the first episode of every copy."""

    space: FeatureSets
    records: list[EpisodeRecord]
    lived: dict[str, dict[int, Episode]]
    joint: dict[int, np.ndarray]
    """what all bodies touched, `[T + 1, L]`, as the environment server saw it"""

    def rewards(self, agent: str) -> list[float]:
        return [record.rewards[record.members.index(agent)] for record in self.records]


def play(goals: Mapping[str, tuple[int, ...]], targets: Mapping[str, int], exchange: bool = False, **options: object) -> Played:
    """`targets`: the landmark that each walks to; with `exchange` the members take the other's where that shortens their ways."""
    environment = VectorLandmarks(LandmarksOptions(velocity=True, **options), AGENTS, COPIES)  # type: ignore[arg-type]
    space, room = environment.goal_space, environment.options.room
    features = Features(environment.layout(AGENTS[0]), 1)
    recorders = {agent: EpisodeRecorder(COPIES, features, space) for agent in AGENTS}
    played = Played(space, [], {agent: {} for agent in AGENTS}, {})
    rows: dict[int, list[np.ndarray]] = {}
    outcome = environment.reset(5)
    chosen = {agent: np.full(COPIES, targets[agent]) for agent in AGENTS}
    applied = {agent: np.zeros((COPIES, 2), np.int32) for agent in AGENTS}
    at = np.arange(COPIES)
    while len(played.records) < COPIES:
        for offer in environment.offers():
            for agent in offer.members if offer.episode < COPIES else ():
                environment.set_goal(offer.episode, agent, space.index(goals[agent]), True)
        seen = {agent: outcome.agents[agent].observation for agent in AGENTS}
        if exchange and rows and max(map(len, rows.values())) == 1:
            a, b = AGENTS
            ways = [seen[a][at, 2 * chosen[x]] + seen[b][at, 2 * chosen[y]] for x, y in ((a, b), (b, a))]
            crossed = ways[1] < ways[0]
            chosen = {a: np.where(crossed, chosen[b], chosen[a]), b: np.where(crossed, chosen[a], chosen[b])}
        for agent in AGENTS:
            look = seen[agent]
            applied[agent] = steer(look[at, 2 * chosen[agent]] * room, look[at, 2 * chosen[agent] + 1], look[:, -2])
        outcome = environment.step(applied)
        for agent in AGENTS:
            batch = outcome.agents[agent]
            goal = None if batch.goal is None else batch.goal.astype(np.int64)
            ended = recorders[agent].tick(
                batch.observation, batch.reward, batch.flags, outcome.episode, applied[agent], batch.achieved, goal
            )
            played.lived[agent] |= {episode.number: episode for episode in ended}
        touched = np.maximum(*(outcome.agents[agent].achieved for agent in AGENTS))
        for copy in np.flatnonzero(outcome.agents[AGENTS[0]].flags):
            rows.setdefault(int(outcome.episode[copy]), []).append(touched[copy])
        played.records += environment.finished()
    played.records = sorted((record for record in played.records if record.episode < COPIES), key=lambda record: record.episode)
    played.joint = {record.episode: np.stack(rows[record.episode]) for record in played.records}
    return played


def tell(played: Played) -> dict[str, ReplayBuffer]:
    """Both put their episodes into their buffers and exchange traces, until nothing is under way; the buffers."""
    random = np.random.default_rng(1)
    layout = VectorLandmarks(LandmarksOptions(velocity=True, landmarks=played.space.features), AGENTS, 1).layout(AGENTS[0])
    buffers = {agent: ReplayBuffer(20000, Features(layout, 1), played.space) for agent in AGENTS}
    exchanges = {
        agent: HindsightExchange(HindsightSettings(), played.space, buffers[agent], np.random.default_rng(i))
        for i, agent in enumerate(AGENTS)
    }
    lost = 0
    for now in np.arange(0.0, 20.0, 0.05).tolist():
        for agent, other in (AGENTS, AGENTS[::-1]):
            if now == 0.0:
                for episode in played.lived[agent].values():
                    buffers[agent].add(episode)
                    exchanges[agent].finished(episode, (other,), now)
            exchanges[agent].machine.tick(now)
            for send in exchanges[agent].machine.outgoing():
                if random.random() < LOSS:
                    lost += 1
                else:
                    exchanges[other].machine.receive(agent, send.message, send.arrays, now)
            exchanges[agent].attach()
    assert lost and all(exchange.complete == len(played.lived[agent]) for agent, exchange in exchanges.items())
    return buffers


def rebuilt(buffer: ReplayBuffer) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """By episode: joint touch `[T + 1, L]` over the own part, and which goals may be relabelled with at its steps, `[T + 1, |G|]`."""
    state = buffer.state_dict()
    return {number: (state["joint"][a:b], (state["marks"][a:b] & Mark.LATER) != 0) for a, b, number in state["episodes"].tolist()}


def check(played: Played) -> dict[str, dict[int, np.ndarray]]:
    """Both have rebuilt what the environment server saw; what they may relabel with."""
    later: dict[str, dict[int, np.ndarray]] = {}
    for agent, buffer in tell(played).items():
        found = rebuilt(buffer)
        for record in played.records:
            joint, _ = found[record.episode]
            own = record.lengths[record.members.index(agent)]
            assert len(joint) == own + 1
            np.testing.assert_array_equal(joint, played.joint[record.episode][: own + 1])
        later[agent] = {number: goals for number, (_, goals) in found.items()}
    return later


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_an_aligned_pair_reaches_its_goal_and_both_know_when(pair: tuple[int, int]) -> None:
    played = play(dict.fromkeys(AGENTS, pair), dict(zip(AGENTS, pair, strict=True)), exchange=True)
    assert all(set(played.rewards(agent)) == {1.0} for agent in AGENTS)
    assert np.median([max(record.lengths) for record in played.records]) <= 60
    check(played)
    for touched in played.joint.values():
        reached = [set(np.flatnonzero(row)) == set(pair) for row in touched]
        assert reached[-1] and not any(reached[:-1]), "the episode ends at the first step at which both stand there"


def test_two_individual_goals_pay_each_and_teach_the_goal_of_both() -> None:
    played = play({"agent-0": (0,), "agent-1": (1,)}, {"agent-0": 0, "agent-1": 1})
    assert all(set(played.rewards(agent)) == {0.5} for agent in AGENTS)
    later = check(played)
    both = played.space.index((0, 1))
    stayed = [record for record in played.records if set(sum(record.touched, ())) == {0, 1}]
    assert len(stayed) > COPIES / 2
    for record in played.records:
        last = max(AGENTS, key=lambda agent: record.lengths[record.members.index(agent)])
        taught = bool(later[last][record.episode][:, both].any())
        assert taught == (record in stayed), "who came last learns that both goals together were reached, if they were"


def test_a_parked_body_is_half_of_its_partners_goal() -> None:
    played = play({"agent-0": (0,), "agent-1": (0, 1)}, {"agent-0": 0, "agent-1": 1}, room=200)
    assert set(played.rewards("agent-0")) == {0.5}
    check(played)
    paid = played.rewards("agent-1")
    assert set(paid) <= {0.0, 1.0} and np.mean(paid) > 0.7
    for record, reward in zip(played.records, paid, strict=True):
        reached = {tuple(np.flatnonzero(row)) for row in played.joint[record.episode]}
        assert ((0, 1) in reached) == (reward == 1.0)


def test_the_schemes_differ_for_whom_another_touches_the_landmark_alone() -> None:
    goals, targets = {"agent-0": (0,), "agent-1": (0,)}, {"agent-0": 1, "agent-1": 0}
    consistent, original = play(goals, targets, horizon=90), play(goals, targets, horizon=90, scheme="original")
    assert set(consistent.rewards("agent-0")) == {0.5} == set(original.rewards("agent-1"))
    assert np.mean(original.rewards("agent-0")) < 0.1
    for played in (consistent, original):
        later = check(played)["agent-0"]
        taught = np.mean([bool(goals[:, 0].any()) for goals in later.values()])
        assert taught == 1.0 if played is consistent else taught < 0.2, "relabelling uses the same rule"
