"""The teacher: what it is paid, what it learns from whom, and what the policy gets for its goals."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent_node.contracts import Frame, TeacherOutput
from agent_node.intrinsic.amigo_teacher import AmigoTeacher
from agent_node.intrinsic.settings import AmigoTeacherSettings, ThresholdSettings, WindowSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from tests.agent_node.grid_worlds import DONE, FIRST, LONGEST, MEMBER, grid, number, observation, policy_spec, rollout

ENTRY = {"snapshot": 60, "goal": 0, "log_probability": -3.0, "duration": 10, "reached": True, "reward": 0.0}


def teacher(copies: int = 1, seed: int = 0, **changes: Any) -> AmigoTeacher:
    grids = policy_spec().grids
    return AmigoTeacher(AmigoTeacherSettings(**({"batch_size": 4} | changes)), grids, copies, seed, 0)


def tick(one: AmigoTeacher, *cells: NDArray[np.uint8], flags: int = MEMBER, reward: float = 0.0, continuous: bool = True) -> TeacherOutput:
    raw, copies = np.stack([observation(each) for each in cells]), len(cells)
    frame = Frame(raw, np.full(copies, reward, np.float32), np.full(copies, flags, np.uint16), continuous)
    return one.step(frame)


def force(one: AmigoTeacher, goal: tuple[int, int], cells: NDArray[np.uint8]) -> None:
    """Set row 0 this goal, as if it had been drawn."""
    rows = np.array([0])
    chance = np.array([-3.0], np.float32)
    one.active_goals.set(rows, cells.reshape(1, -1), np.array([number(*goal)]), chance, np.array([False]))


def queue(one: AmigoTeacher, n: int, **values: Any) -> None:
    """Goals that have ended, all alike but for `values`, each an array of n or one for all."""
    cells = np.repeat(grid().reshape(1, -1), n, axis=0)
    ended = np.zeros(n, one._queue.dtype)
    for name, value in (ENTRY | values | {"snapshot": cells}).items():
        ended[name] = value
    one._queue = np.concatenate([one._queue, ended])


def test_the_policy_is_paid_less_the_longer_it_takes() -> None:
    one = teacher()
    tick(one, grid((1, 1)), flags=FIRST)
    force(one, (2, 1), grid((1, 1)))
    assert tick(one, grid((2, 1))).reward.tolist() == pytest.approx([1 - 0.9 / LONGEST])
    force(one, (3, 1), grid((2, 1)))
    for _ in range(LONGEST - 1):
        assert tick(one, grid((2, 1))).reward.tolist() == [0.0]
    assert tick(one, grid((3, 1))).reward.tolist() == pytest.approx([0.1])
    half = teacher(coefficient=0.5)
    tick(half, grid((1, 1)), flags=FIRST)
    force(half, (2, 1), grid((1, 1)))
    assert tick(half, grid((2, 1))).reward.tolist() == pytest.approx([0.5 * (1 - 0.9 / LONGEST)]), "linear in the coefficient"


def test_the_goal_of_a_tick_is_the_one_to_act_for() -> None:
    """A goal that was reached is replaced before the policy acts again; that of an ended episode stays for its last value."""
    one = teacher(seed=3)
    first = tick(one, grid((1, 1)), flags=FIRST).goals
    force(one, (2, 1), grid((1, 1)))
    seen = {int(first[0])}
    for step in range(40):
        now = grid((1 + (step + 1) % 2, 1))
        goals = tick(one, now).goals
        assert goals.tolist() == one.active_goals.goal.tolist()
        seen.add(int(goals[0]))
        force(one, (2, 1), now)
    assert len(seen) > 5, "drawn from the softmax over all cells"
    force(one, (3, 2), grid((2, 1)))
    assert tick(one, grid((1, 2)), flags=DONE).goals.tolist() == [number(3, 2)]


def test_after_a_late_reach_the_duration_is_that_of_the_ended_goal() -> None:
    one = teacher(boundary="reset_grid")
    tick(one, grid((1, 1)), flags=FIRST)
    force(one, (3, 2), grid((1, 1)))
    for _ in range(9):
        tick(one, grid((1, 1)))
    assert not tick(one, grid((1, 1)), flags=DONE).late.any()
    teacher_output = tick(one, grid((3, 2)), flags=FIRST)
    assert teacher_output.late.tolist() == pytest.approx([1 - 0.9 * 10 / LONGEST]) and not teacher_output.reward.any()
    assert one.waiting == 1 and one._queue["reached"].tolist() == [True]


def test_a_teacher_that_restarts_ends_the_episode_with_the_goal() -> None:
    """Not where it has ended already, and not in evaluations; no goal is set where no agent will act for it."""
    one = teacher(copies=4, restart_episode=True)
    tick(one, *[grid((1, 1))] * 4, flags=FIRST)
    one.active_goals.set(
        np.arange(4), grid((1, 1)).reshape(1, -1).repeat(4, 0), np.full(4, number(2, 1)), np.zeros(4, np.float32), np.zeros(4, bool)
    )
    flags = np.array([MEMBER, MEMBER, DONE, MEMBER | int(Flag.EVALUATION)], np.uint16)
    raw = np.stack([observation(grid(place)) for place in ((2, 1), (1, 2), (2, 1), (2, 1))])
    teacher_output = one.step(Frame(raw, np.zeros(4, np.float32), flags, True))
    assert teacher_output.restart is not None and teacher_output.restart.tolist() == [True, False, False, False]
    assert teacher_output.reward.tolist() == pytest.approx([1 - 0.9 / LONGEST, 0, 1 - 0.9 / LONGEST, 1 - 0.9 / LONGEST])
    assert one.active_goals.goal[0] == number(2, 1) and not one.active_goals._live[0]
    teacher_output = tick(one, *[grid((1, 1))] * 4, flags=FIRST)
    assert teacher_output.restart is None and one.active_goals._live.all() and one.active_goals.duration.tolist() == [0] * 4


def test_evaluations_set_goals_and_teach_nothing() -> None:
    one, twin = teacher(), teacher()
    for each in (one, twin):
        tick(each, grid((1, 1)), flags=FIRST)
    evaluation = FIRST | int(Flag.EVALUATION)
    tick(one, grid((1, 1)), flags=evaluation)
    force_evaluated = one.active_goals.goal.copy()
    assert 0 <= force_evaluated[0] < 20
    one.active_goals._goals["evaluation"] = True
    tick(one, grid((1, 1)), flags=DONE | int(Flag.EVALUATION))
    assert one.waiting == 0
    drawn = [int(tick(each, grid((1, 2)), flags=FIRST).goals[0]) for each in (one, twin)]
    assert drawn[0] == drawn[1], "drawing in an evaluation takes nothing from the generator of training"


@pytest.mark.parametrize(
    ("failure", "durations", "reached", "rewards", "wanted"),
    [
        (-0.3, [7, 6, 50, 7], [True, True, False, True], [0, 0, 0, 0], [0.7, -0.3, -0.3, 0.7]),
        (-0.1, [7, 6, 50, 7], [True, True, False, True], [0, 0, 0, 0], [0.9, -0.1, -0.1, 0.9]),
        (-0.3, [7, 6, 50, 7], [True, True, False, True], [0, 0.4, 0.9, 0.1], [0.7, 1.0, 1.0, 1.0]),
    ],
)
def test_hard_successes_pay_and_the_environment_s_reward_overrides(
    failure: float, durations: list[int], reached: list[bool], rewards: list[float], wanted: list[float]
) -> None:
    one = teacher(failure=failure, difficulty=ThresholdSettings(start=7))
    queue(one, 4, duration=np.array(durations), reached=np.array(reached), reward=np.array(rewards))
    metrics = one.learn(rollout(2, 2))
    assert metrics["reward"] == pytest.approx(np.mean(wanted), abs=1e-6)
    assert metrics["reward.raw"] == pytest.approx(failure + 0.5) and metrics["hard"] == 0.5 and metrics["reached"] == 0.75
    assert metrics["extrinsic"] == pytest.approx(np.mean(rewards), abs=1e-6) and metrics["duration"] == np.mean(durations)
    assert metrics["duration.reached"] == pytest.approx(20 / 3)


def test_the_rule_goes_by_what_was_earned_before_the_override() -> None:
    rule = ThresholdSettings(start=7, counts=1, threshold=-0.1)
    one = teacher(difficulty=rule)
    queue(one, 4, reached=False, reward=1.0)
    assert one.learn(rollout(2, 2))["threshold"] == 7
    queue(one, 4, reached=True, reward=0.0)
    assert one.learn(rollout(2, 2))["threshold"] == 8


def test_a_window_learns_from_the_same_goals_by_its_own_rule() -> None:
    one = teacher(difficulty=WindowSettings(start=100, window=5))
    queue(one, 4, duration=np.array([94, 95, 105, 106]))
    assert one.learn(rollout(2, 2))["hard"] == 0.5


def test_every_goal_is_learnt_from_once_and_whole_batches_at_a_time() -> None:
    one = teacher()
    queue(one, 3)
    assert "reward" not in one.learn(rollout(2, 2)) and one.waiting == 3 and one.updates == 0
    queue(one, 7)
    one.learn(rollout(2, 2))
    assert one.waiting == 2 and one.updates == 2


def test_the_gradient_is_that_of_the_published_loss() -> None:
    one, twin = teacher(max_grad_norm=1e9), teacher(max_grad_norm=1e9)
    goals, chances = np.array([3, 7, 7, 12]), np.array([-3.0, -2.0, -4.0, -2.5])
    queue(one, 4, goal=goals, log_probability=chances, reached=np.array([True, False, True, False]))
    codes = torch.from_numpy(np.repeat(grid().reshape(1, -1), 4, axis=0)).long()
    logits, value = twin.network(codes)
    policy = torch.distributions.Categorical(logits=logits)
    own = policy.log_prob(torch.from_numpy(goals))
    rho = (own.detach().double() - torch.from_numpy(chances)).exp().clamp_max(1).float()
    assert (rho < 1).any() and (rho == 1).any()
    reward = torch.tensor([0.7, -0.3, 0.7, -0.3])
    advantage = rho * (reward - value.detach())
    loss = -(own * advantage).mean() + 0.25 * (value.detach() + advantage - value).square().mean() - 0.05 * policy.entropy().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    twin.optimiser.step()
    one.learn(rollout(2, 2))
    torch.testing.assert_close(one.vector, twin.vector, atol=1e-6, rtol=1e-4)


def test_it_learns_to_propose_what_is_hard_and_reached() -> None:
    """Goal 5 is always reached after 20 steps, all others never."""
    one = teacher(copies=8, batch_size=32, entropy_coef=0.01)
    cells = [grid((1, 1))] * 8
    for _ in range(400):
        goals = tick(one, *cells, flags=FIRST).goals
        queue(one, 8, goal=goals, log_probability=one.active_goals._goals["log_probability"], duration=20, reached=goals == 5)
        metrics = one.learn(rollout(1, 1)) if one.waiting >= 32 else {"hard": 0.0}
        if metrics["hard"] > 0.5:
            break
    assert metrics["hard"] > 0.5


def test_a_teacher_needs_the_whole_grid() -> None:
    for grids in (None, policy_spec(width=0, height=0, partial=3).grids):
        with pytest.raises(ConfigurationError, match=r"agents\.teacher"):
            AmigoTeacher(AmigoTeacherSettings(), grids, 1, 0, 0)


def test_threshold_counters_and_waiting_goals_outlive_a_restart() -> None:
    one, other = teacher(difficulty=ThresholdSettings(counts=3)), teacher(seed=4, difficulty=ThresholdSettings(counts=3))
    queue(one, 4 * 5 + 3)
    one.learn(rollout(2, 3))
    other.load_state_dict(one.state_dict())
    assert (other.rule.target, other.waiting, other.updates, other.frames) == (8, 3, 5, 6)
    for each in (one, other):
        queue(each, 5)
    assert one.learn(rollout(2, 2)) == other.learn(rollout(2, 2))
    assert torch.equal(one.vector, other.vector) and other.rule.target == 9
    with pytest.raises(ValueError, match=r"queue\.goal is missing"):
        other.load_state_dict({name: part for name, part in one.state_dict().items() if name != "queue.goal"})
    small = AmigoTeacher(AmigoTeacherSettings(), policy_spec(width=4).grids, 1, 0, 0)
    with pytest.raises(ValueError, match="has shape"):
        small.load_state_dict(one.state_dict())
