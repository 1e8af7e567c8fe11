"""Episodes of three members, led by one message that two read, in real processes under the logical clock: one proposal in ten is lost,
the nodes come up in another order, and an agent is killed and restarted (dec_imsap, sections 2.10 and 5.6, v and vi)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from safetensors.numpy import load_file

from agent_node.exchange.goal_negotiation import CoordinationGame
from agent_node.exchange.settings import CoordinationGameSettings
from agent_node.goals.goal_sources import UniformGoals
from agent_node.goals.settings import UniformGoalSettings
from protocols.conversations.episode_exchange import Trace
from protocols.conversations.proposals import Propose, ProposeAck
from protocols.conversations.stepping.stepping_messages import Flag, Observation
from protocols.runtime.seeds import Stream
from protocols.spaces.feature_sets import FeatureSets
from tests.runs.system import CONFIG, events, metrics
from tests.runs.tapped import SERVER, Tapped, joint_touch, run_tapped
from tests.runs.test_isolation import LIGHT
from tests.runs.walker import install

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(150)]
KILLED = "agent-1"
FORWARD = ["env-0", "agent-0", "agent-1", "agent-2", "agent-3"]
# Tables that hardly move: messages depend on nothing but seeds, so that they can be predicted.
GAME = CoordinationGameSettings(messages=12, step_size=1e-9)
# Policies that walk straight to a landmark: many goals are reached, also by three.
PARTY = [
    *(change for change in LIGHT if not change.startswith(("agents.", "environment.", "evaluation"))),
    "environment.copies=24",
    "evaluation={every: 100000, episodes: 8, final_episodes: 1}",
    "agents={count: 4, learner: {kind: walker, room: 200}, world_model: null, history: 1}",
    "clock=logical",
    "tick=10ms",
    "until={steps: 4200}",
    "supervision={checkpoint_interval: 700ms, restart_delay: 200ms}",
    "network.topology.kind=complete",
    "environment.options={members: 3, largest: 3, landmarks: 3, room: 200, horizon: 40, sight: 400, velocity: true}",
    "exchange={negotiation: {kind: coordination_game, messages: 12, step_size: 1e-9, deadline: 90ms}, hindsight: {deadline: 300ms}, "
    "consensus: null}",
    "faults={links: [{id: lossy, types: [propose], loss: 0.1}], heal_before_end: 0%, events: [{id: crash, at: {step: 2100}, "
    f"process: {{target: {KILLED}, action: kill, restart_after: 200ms}}}}]}}",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("three") / "runs" / "forward"


@pytest.fixture(scope="module")
def tapped(directory: Path, site: Path) -> Tapped:
    return run_tapped(directory, CONFIG, PARTY, FORWARD, site)


def agreed(tapped: Tapped) -> dict[tuple[int, str], tuple[int, int, bool]]:
    """(goal, its leader's message or -1, whether it was agreed on) of every member in every episode that it chose a goal for."""
    return {(episode, member): (goal, tapped.messages.get(episode, -1), yes) for (episode, member), (goal, yes) in tapped.goals.items()}


def checkpoint(directory: Path, agent: str) -> dict[str, np.ndarray]:
    home = directory / "nodes" / agent / "checkpoints"
    return dict(load_file(home / f"{(home / 'LATEST').read_text()}.safetensors"))


def test_three_play_and_tell_each_other(directory: Path, tapped: Tapped) -> None:
    assert tapped.lost() == [] and tapped.breaches() == []
    assert {len(members) for members in tapped.members.values()} == {3} and tapped.space.count == 7
    assert len({members[0] for members in tapped.members.values()}) == 4, "every agent leads sometimes"
    assert min(tapped.count(kind) for kind in (Propose, ProposeAck, Trace)) > 100
    heard = {(episode, c.receiver) for c in tapped.of(Propose, way="in") for episode in c.arrays["episode"].tolist()}
    both = [episode for episode, members in tapped.members.items() if {(episode, name) for name in members[1:]} <= heard]
    assert len(both) > 60, "one message, read by two"
    assert [event["node"] for event in events(directory, "node.restart")] == [KILLED]


def test_a_lost_proposal_is_flagged_and_teaches_the_table_nothing(directory: Path, tapped: Tapped) -> None:
    unsettled = [key for key, (_, negotiated) in tapped.goals.items() if not negotiated and key[0] not in tapped.assigned]
    assert len(unsettled) > 20 and len(unsettled) < 0.7 * len(tapped.goals)
    assert min(metrics(directory, SERVER, "negotiated")) < 1.0
    different = 0
    for agent in set(tapped.agents) - {KILLED}:
        table = checkpoint(directory, agent)["negotiation/table"]
        records = list(played(tapped, agent))
        for all_of_them in (False, True):
            game = CoordinationGame(GAME, tapped.space.count)
            game.update((goal, message, reward) for goal, message, reward, yes in records if yes or (all_of_them and message >= 0))
            if all_of_them:
                different += not np.array_equal(table, game.table)
            else:
                assert table.any()
                np.testing.assert_array_equal(table, game.table)
    assert different, "had the others counted, some table would be another"


def played(tapped: Tapped, agent: str) -> list[tuple[int, int, float, bool]]:
    """(goal, message, own reward, agreed on) of the training episodes that ended for an agent until its last checkpoint, in order."""
    found: list[tuple[int, int, float, bool]] = []
    kept = 0
    rewards: dict[int, float] = {}
    ticks = sorted(tapped.of(Observation, agent, "in"), key=lambda crossing: crossing.message.tick)  # type: ignore[attr-defined]
    for crossing in ticks:
        arrays, phase = crossing.arrays, crossing.message.phase  # type: ignore[attr-defined]
        for copy in np.flatnonzero((arrays["flags"] & Flag.MEMBER) != 0).tolist():
            flags, episode = int(arrays["flags"][copy]), int(arrays["episode"][copy])
            if flags & Flag.FIRST:
                rewards[episode] = 0.0
            elif episode in rewards:
                rewards[episode] += float(arrays["reward"][copy])
                if flags & Flag.OVER and not flags & (Flag.EVALUATION | Flag.PEER_LOST) and phase != "evaluation":
                    goal, negotiated = tapped.goals[episode, agent]
                    message = tapped.messages.get(episode, -1)
                    found.append((goal, message, rewards[episode], negotiated))
        if phase == "checkpoint":
            kept = len(found)
            rewards.clear()
    return found[:kept]


def test_what_the_buffer_knows_of_all_three_is_what_the_environment_saw(directory: Path, tapped: Tapped) -> None:
    truth = joint_touch(tapped)
    compared = touched = distinct = 0
    for agent in set(tapped.agents) - {KILLED}:
        tensors = checkpoint(directory, agent)
        peers, joint, status = (tensors[f"replay/{name}"] for name in ("peers", "joint", "status"))
        assert peers.shape[1] == 2
        for first, last, episode in tensors["replay/episodes"].tolist():
            if not status[first] & 4:
                continue
            others = [member for member in tapped.members[episode] if member != agent]
            wanted = sorted(tapped.goals[episode, member][0] for member in others)
            assert [sorted(row) for row in peers[first:last].tolist()] == [wanted] * (last - first)
            np.testing.assert_array_equal(joint[first:last], truth[episode][: last - first])
            compared, touched, distinct = compared + 1, touched + bool(joint[first:last].any()), distinct + len(set(wanted)) - 1
    assert compared > 60 and touched > 10 and distinct > 20


def test_goals_and_messages_follow_from_seeds_alone(tapped: Tapped) -> None:
    """Before the death of one agent and after it: every leader's goal and message, and every goal that a follower reads from it."""
    space = FeatureSets(3, largest=3)
    source, game = UniformGoals(UniformGoalSettings(), space.count), CoordinationGame(GAME, space.count)
    led = read = 0
    for (episode, agent), (goal, message, yes) in agreed(tapped).items():
        if episode in tapped.assigned:
            continue
        random = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(crc32(agent.encode()), int(Stream.GOALS), episode)))
        if agent == tapped.members[episode][0]:
            assert goal == source.propose(random)
            assert message in (-1, game.lead(goal, random)), "-1: the proposal was lost"
            led += 1
        elif yes:
            assert goal == game.follow(message, random)
            read += 1
    assert led > 100 and read > 150
    restarted = [c for c in tapped.of(Propose, KILLED, "out") if c.message.inc == 2]
    assert restarted, "it has led again after its restart"


def test_who_is_there_first_changes_nothing(directory: Path, tapped: Tapped, site: Path) -> None:
    other = run_tapped(directory.parent / "backward", CONFIG, PARTY, FORWARD[::-1], site)
    up = {}
    for run in (tapped, other):
        hello = {holder: min(c.t for c in run.crossings if c.holder == holder) for holder in FORWARD}
        up[id(run)] = sorted(hello, key=lambda holder: hello[holder])
    assert up[id(tapped)] == FORWARD and up[id(other)] == FORWARD[::-1]
    assert agreed(other) == agreed(tapped) and other.members == tapped.members
    assert len(agreed(tapped)) > 300 and all(a < b for a, b in pairwise(sorted(tapped.over)))
