"""Joint experience of a team of real agents: equal memories, losses, dead and faulty members, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.memory.joint_replay import JointReplay
from protocols.conversations.conversation import Send
from protocols.conversations.joint_experience import MemberSteps
from protocols.runtime.errors import ConfigurationError
from tests.agent_node.exchange.joint_team import JointTeam

LEARNER = {"kind": "maddpg", "batch_size": 32, "learning_starts": 100, "replay_ratio": 0.05, "hidden": [16, 16]}
ENVIRONMENT = {"id": "particles:simple_spread", "copies": 3, "options": {"horizon": 10}}
TAG = {"id": "particles:simple_tag", "copies": 2, "options": {"horizon": 10, "actions": "continuous"}}


def team(environment: Mapping[str, Any] = ENVIRONMENT, learner: Mapping[str, Any] = LEARNER, **options: Any) -> JointTeam:
    return JointTeam({"learner": learner}, environment, **options)


@pytest.fixture(params=["all messages", "5 % of messages lost"])
def played(request: pytest.FixtureRequest) -> Iterator[JointTeam]:
    with team(loss=0.0 if request.param == "all messages" else 0.05) as made:
        made.tick(150)
        yield made


def rows(replay: JointReplay) -> dict[int, list[np.ndarray]]:
    """By the numbers of the episodes, the columns of all members."""
    state = {name: tensor.numpy() for name, tensor in replay.state_dict().items()}
    columns = sorted(name for name in state if name not in ("episodes", "cursor"))
    return {int(number): [state[name][first:last] for name in columns] for first, last, number in state["episodes"]}


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

    return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())


def test_all_members_hold_the_same_joint_episodes(played: JointTeam) -> None:
    held = {name: rows(played.replay(name)) for name in played.names}
    common = set.intersection(*(set(one) for one in held.values()))
    # At 5 % loss an acknowledgement or a repetition of the newest episodes may be on its way.
    assert len(common) >= 30 and all(len(one) - len(common) <= 6 for one in held.values())
    for number in common:
        first, *others = (held[name][number] for name in played.names)
        assert all(np.array_equal(a, b) for other in others for a, b in zip(first, other, strict=True))
    for name in played.names:
        metrics = played.joint(name).metrics()
        assert metrics["joint.incomplete"] == 0 and metrics["joint.complete"] == len(held[name])
        assert played.sessions[name].trainer.updates > 10


def test_spaces_and_actions_of_the_members_may_differ() -> None:
    with team(TAG, count=4) as made:
        made.tick(130)
        batch, found = made.replay("agent-3").batch(20, np.random.default_rng(0)), made.sessions["agent-3"].components.team
        assert batch.joint is not None and found is not None
        widths = [spec.observation[0] for spec in found.specs]
        assert len(set(widths)) == 2, "the prey sees other things than the predators"
        assert [one.shape[1] for one in batch.joint.observation] == widths
        assert all(one.dtype == torch.float32 for one in batch.joint.action)
        assert all(made.sessions[name].trainer.updates > 0 for name in made.names)


def test_a_member_that_is_gone_ends_joint_episodes_and_nothing_waits() -> None:
    with team() as made:
        made.tick(54)
        complete = {name: made.joint(name).metrics()["joint.complete"] for name in made.names}
        made.kill("agent-2")
        made.tick(60)
        for name in ("agent-0", "agent-1"):
            metrics = made.joint(name).metrics()
            assert metrics["joint.complete"] == complete[name] and metrics["joint.incomplete"] > 0
            assert not made.joint(name).machine._active


def test_a_silent_member_is_not_waited_for_beyond_the_deadline() -> None:
    with team(exchange={"joint_experience": {"deadline": "1s"}}) as made:
        made.tick(54)
        made.kill("agent-2", noticed=False)
        made.tick(100)
        for name in ("agent-0", "agent-1"):
            assert made.joint(name).metrics()["joint.incomplete"] > 0 and len(made.joint(name).machine._active) <= 6


def test_steps_of_a_faulty_member_are_refused_counted_and_change_nothing() -> None:
    def broken(src: str, send: Send) -> Send:
        if src != "agent-2" or not isinstance(send.message, MemberSteps):
            return send
        return replace_arrays(send, action=np.full_like(send.arrays["action"], 99))

    with team(exchange={"joint_experience": {"deadline": "500ms"}}) as made:
        made.changed = broken
        made.tick(60)
        for name in ("agent-0", "agent-1"):
            metrics = made.joint(name).metrics()
            assert metrics["joint.bad.E_FRAME"] > 0 and metrics["joint.complete"] == 0 and len(made.replay(name)) == 0
        assert made.joint("agent-2").metrics()["joint.complete"] > 0


def test_own_rewards_outside_of_the_range_are_a_mistake_of_the_configuration() -> None:
    wrong = pytest.raises(ConfigurationError, match=r"reward_range: agent-\d got rewards from -.* outside of \[0, 1\]; widen it")
    with team(exchange={"joint_experience": {"reward_range": [0, 1]}}) as made, wrong:
        made.tick(15)
    with pytest.raises(ValueError, match=r"reward_range .* is empty"):
        team(exchange={"joint_experience": {"reward_range": [1, 0]}})


def replace_arrays(send: Send, **arrays: Any) -> Send:
    return send._replace(arrays={**send.arrays, **arrays})


def test_snapshots_are_sent_regularly_and_withdrawn_when_they_are_too_old() -> None:
    exchange = {"joint_experience": {"snapshot_every": 5, "max_policy_age": 10}}
    with team(exchange=exchange) as made:
        made.tick(140)
        updates = made.sessions["agent-0"].trainer.updates
        metrics = made.joint("agent-0").metrics()
        assert metrics["joint.snapshots"] == 2 * (1 + updates // 5) and "joint.snapshots_withdrawn" not in metrics
        # With fewer joint episodes, or none, the learner goes on with those that it has; what agent-2 would do is not known any more.
        made.kill("agent-2")
        made.tick(140)
        assert made.joint("agent-0").metrics()["joint.snapshots_withdrawn"] == 1


def test_a_run_repeats_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    with team() as first, team() as second:
        for made, directory in ((first, tmp_path / "a"), (second, tmp_path / "b")):
            made.tick(75)
            made.checkpoint(directory)
        with first.restored(tmp_path / "a") as third:
            for made in (first, second, third):
                made.tick(80)
            for name in first.names:
                assert first.sessions[name].trainer.updates > 10
                assert same(first.state(name), second.state(name)), "it repeats"
                assert same(first.state(name), third.state(name)), "it resumes"


def test_rewards_of_the_batch_are_those_of_the_member() -> None:
    with team() as made:
        made.tick(60)
        batches = {name: made.replay(name).batch(64, np.random.default_rng(3)) for name in made.names}
        joint = batches["agent-0"].joint
        assert joint is not None
        for place, name in enumerate(made.names):
            assert torch.equal(batches[name].reward, joint.reward[:, place])
            assert torch.equal(batches[name].observation, joint.observation[place])


def test_environments_with_turns_are_refused() -> None:
    turns = {"id": "tests.env_server.adapters.turn_environments:Knockout", "copies": 1}
    with team(turns) as made, pytest.raises(ConfigurationError, match="take turns or enter late"):
        made.tick(3)
