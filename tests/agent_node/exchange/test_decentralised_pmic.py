"""PMIC without a centre: three real agents against one pooled component, lost messages, dead and faulty members."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Component
from agent_node.intrinsic.mutual_information import MutualInformation
from agent_node.intrinsic.settings import MutualInformationSettings
from agent_node.memory.episode import Episode
from agent_node.memory.joint_replay import JointReplay, MemberPart
from agent_node.session.roles import REPLAY_REWARD
from protocols.conversations.conversation import Send
from protocols.conversations.joint_experience import MemberSteps
from tests.agent_node.exchange.joint_team import JointTeam

LEARNER = {"kind": "maddpg", "batch_size": 64, "learning_starts": 60, "replay_ratio": 0.1, "hidden": [16, 16]}
REWARD = {"kind": "mutual_information", "least_episodes": 3, "warm_up": 1, "batch_size": 64, "episodes": 20, "reorder": 8}
ENVIRONMENT: dict[str, Any] = {
    "id": "particles:simple_spread",
    "copies": 4,
    "options": {"horizon": 10, "actions": "continuous", "reward": "team"},
}


def team(every: int = 1, deadline: str = "2s", reward_range: list[float] | None = None, **options: Any) -> JointTeam:
    consensus = {"mode": "mh", "groups": ["mi_low", "mi_up"], "every": {"updates": every}}
    exchange = {"consensus": consensus, "joint_experience": {"deadline": deadline, "reward_range": reward_range}}
    return JointTeam({"learner": LEARNER, "replay_reward": REWARD}, ENVIRONMENT, exchange=exchange, **options)


def component(made: JointTeam, name: str) -> MutualInformation:
    found = made.sessions[name].components[REPLAY_REWARD]
    assert isinstance(found, MutualInformation)
    return found


def memories(one: MutualInformation) -> tuple[set[int], set[int]]:
    return set(one.memory.superior.numbers), set(one.memory.inferior.numbers)


class Recorder(Component):
    """What the agent itself played: the ledger of the pooled reference."""

    def __init__(self) -> None:
        self.episodes: dict[int, Episode] = {}

    def episode_ended(self, episode: Episode) -> None:
        self.episodes[episode.number] = episode


def test_three_agents_equal_one_pooled_component() -> None:
    with team() as made:
        first = made.sessions["agent-0"].components
        found = first.team
        assert found is not None
        recorders = {name: Recorder() for name in made.names}
        start = {key: tensor.clone() for key, tensor in component(made, "agent-0").state_dict().items()}
        draws = first.random["buffer"].bit_generator.state
        for name, recorder in recorders.items():
            made.sessions[name].components.add("recorder", recorder)
            component(made, name).load_state_dict(start)
            made.sessions[name].components.random["buffer"].bit_generator.state = draws
        pooled = MutualInformation(MutualInformationSettings.model_validate(REWARD), first.policy_spec, 1, 2)
        pooled.load_state_dict(start)
        replay, random = JointReplay(first.settings.buffer.transitions, found.specs, 0), np.random.default_rng()
        random.bit_generator.state = draws
        done: set[int] = set()
        for _ in range(150):
            before = made.sessions["agent-0"].trainer.updates
            made.tick()
            for _ in range(made.sessions["agent-0"].trainer.updates - before):
                pooled.bonus(replay.batch(LEARNER["batch_size"], random))  # type: ignore[arg-type]
            played = set.intersection(*(set(recorder.episodes) for recorder in recorders.values()))
            for number in sorted(played - done):
                own = [recorders[name].episodes[number] for name in made.names]
                joint = replay.add(number, [MemberPart(one.observation, one.action, one.reward, one.terminated) for one in own])
                pooled.joint_episode_ended(number, joint, joint.reward.sum(dim=0).numpy())
                done.add(number)
        assert len(done) >= 50 and pooled.updates > 20
        for name in made.names:
            one = component(made, name)
            assert memories(one) == memories(pooled) and one.updates == pooled.updates
            for group, tensors in pooled.parameter_groups().items():
                for mine, wanted in zip(one.parameter_groups()[group], tensors, strict=True):
                    torch.testing.assert_close(mine, wanted, atol=1e-5, rtol=1e-5)


def test_memories_and_bonuses_agree_when_messages_are_lost() -> None:
    with team(loss=0.05) as made:
        made.tick(400)
        ones = [component(made, name) for name in made.names]
        assert all(one.updates > 50 for one in ones)
        for a, b in combinations(map(memories, ones), 2):
            for mine, other in zip(a, b, strict=True):
                assert len(mine ^ other) < 0.1 * len(mine | other)
        probe = made.replay("agent-0").sample(256, np.random.default_rng(0))
        bonus = torch.stack([one.shaping(probe) for one in ones])
        assert float(bonus.std(dim=0).mean()) < 0.1 * float(bonus.std())


def test_a_member_that_dies_in_mid_episode_leaves_no_episode_and_training_goes_on() -> None:
    with team() as made:
        made.tick(105)
        before = {name: memories(component(made, name)) for name in made.names}
        updates = made.sessions["agent-0"].trainer.updates
        assert updates > 0 and all(superior for superior, _ in before.values())
        made.kill("agent-2")
        made.tick(60)
        for name in ("agent-0", "agent-1"):
            assert memories(component(made, name)) == before[name]
            assert made.joint(name).metrics()["joint.incomplete"] > 0
        assert made.sessions["agent-0"].trainer.updates > updates
        assert np.isfinite(list(component(made, "agent-0").metrics().values())).all()


def _foreign(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {"episode": arrays["episode"] + 1_000_000}


def _wide(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {"observation": np.zeros((len(arrays["observation"]), arrays["observation"].shape[1] + 1), arrays["observation"].dtype)}


def _impossible(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {"reward": np.full_like(arrays["reward"], 1e6)}


@pytest.mark.parametrize(("change", "reason"), [(_foreign, "early_expired"), (_wide, "bad.E_FRAME"), (_impossible, "reward_out_of_range")])
def test_bad_steps_of_a_member_change_no_memory(change: Any, reason: str) -> None:
    """Of an episode that it did not play, of another width, with a return that no episode has: refused and counted by reason."""

    def broken(src: str, send: Send) -> Send:
        if src != "agent-2" or not isinstance(send.message, MemberSteps):
            return send
        return send._replace(arrays={**send.arrays, **change(send.arrays)})

    with team(deadline="500ms", reward_range=[-100, 0]) as made:
        made.tick(45)
        before = {name: memories(component(made, name)) for name in ("agent-0", "agent-1")}
        complete = {name: made.joint(name).metrics()["joint.complete"] for name in before}
        assert all(f"joint.{reason}" not in made.joint(name).metrics() for name in before)
        made.changed = broken
        made.tick(60)
        for name, held in before.items():
            metrics = made.joint(name).metrics()
            assert memories(component(made, name)) == held and metrics["joint.complete"] == complete[name]
            assert metrics[f"joint.{reason}"] > 0 and metrics["joint.incomplete"] > 0
        assert len(memories(component(made, "agent-2"))[1]) > len(before["agent-0"][1])


def test_one_impossible_return_does_not_fix_the_threshold() -> None:
    def lying(src: str, send: Send) -> Send:
        if src != "agent-2" or not isinstance(send.message, MemberSteps):
            return send
        return send._replace(arrays={**send.arrays, "reward": np.full_like(send.arrays["reward"], 1e6)})

    with team() as made:
        made.tick(105)
        one = component(made, "agent-0")
        made.changed = lying
        made.tick(11)
        made.changed = lambda src, send: send
        made.tick(60)
        assert one.memory.superior.returns[-1] < 1000, "the reported returns are above a million"


@pytest.mark.parametrize(("kind", "actions"), [("maddpg", "continuous"), ("masac", "continuous"), ("qmix", "discrete")])
def test_weights_of_zero_leave_the_base_learner_as_it_is_bit_for_bit(kind: str, actions: str) -> None:
    environment = {**ENVIRONMENT, "options": {**ENVIRONMENT["options"], "actions": actions}}
    states, zero = [], {**REWARD, "maximise": 0.0, "minimise": 0.0}
    for reward in (None, zero, {**REWARD, "least_episodes": 1}):
        with JointTeam({"learner": {**LEARNER, "kind": kind}, "replay_reward": reward}, environment) as made:
            made.tick(120)
            assert made.sessions["agent-0"].trainer.updates > 10
            states.append(made.learner("agent-0").state_dict())
    plain, unweighted, shaped = states
    assert plain.keys() == unweighted.keys() and all(torch.equal(plain[name], unweighted[name]) for name in plain)
    assert not all(torch.equal(plain[name], shaped[name]) for name in plain), "other weights change what is learnt"
    assert all(torch.isfinite(tensor).all() for tensor in shaped.values())


def test_a_team_resumes_bit_for_bit(tmp_path: Path) -> None:
    with team() as first:
        first.tick(115)
        first.checkpoint(tmp_path)
        with first.restored(tmp_path) as second:
            for made in (first, second):
                made.tick(40)
            for name in first.names:
                assert component(first, name).updates > 5
                one, two = first.state(name), second.state(name)
                parts = [key for key in one if key.startswith(("replay_reward/", "learner/"))]
                assert one.keys() == two.keys() and len(parts) > 10
                assert all(torch.equal(one[key], two[key]) for key in parts)
