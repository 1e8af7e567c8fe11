"""The student: the loss by hand, which goal and state the learner asks its network with, a task learnt, checkpoints."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch, PolicySpec
from agent_node.learners.impala import IMPALA, vtrace
from agent_node.learners.library.optimisers import RMSProp, remaining
from agent_node.learners.settings import IMPALASettings, RMSPropSettings
from agent_node.memory.rollout_buffer import RolloutBuffer
from agent_node.session.observation_features import Features
from agent_node.session.transition_batches import goal_encodings, rollout_batch
from tests.agent_node.grid_worlds import DONE, FIRST, MEMBER, features, layout, policy_spec, random_observations, rollout

GOALS = 20


def learner(seed: int = 0, copies: int = 4, **changes: Any) -> IMPALA:
    return IMPALA(IMPALASettings(**({"hidden": [16]} | changes)), policy_spec(GOALS), copies, seed)


def layers(number: int) -> dict[str, Any] | None:
    return {"cell": "lstm", "layers": number} if number else None


def test_rmsprop_is_the_published_one() -> None:
    vector, gradient = torch.randn(5, generator=torch.Generator().manual_seed(0)), torch.zeros(5)
    theirs = torch.nn.Parameter(vector.clone())
    ours = RMSProp.of(RMSPropSettings(learning_rate=0.03, max_grad_norm=50.0, decay=0.9, epsilon=0.02, momentum=0.5), vector, gradient)
    other = torch.optim.RMSprop([theirs], lr=0.03, alpha=0.9, eps=0.02, momentum=0.5)
    assert ours.norm == 50.0
    for step in range(5):
        slope = torch.arange(5.0) * (step - 2)
        gradient.copy_(slope)
        theirs.grad = slope.clone()
        assert ours.step() == pytest.approx(float(slope.norm()))
        other.step()
    torch.testing.assert_close(vector, theirs.detach())
    before = vector.clone()
    gradient.fill_(1e6)
    ours = RMSProp(vector, gradient, 0.01, 40.0)
    ours.step(share=0.5)
    clipped = 40.0 / 5**0.5
    torch.testing.assert_close(before - vector, torch.full((5,), 0.5 * 0.01 * clipped / (0.1 * clipped + 0.01)))


def test_the_rate_falls_linearly_to_zero() -> None:
    assert [remaining(done, 100) for done in (0, 25, 100, 200)] == [1.0, 0.75, 0.0, 0.0] and remaining(10**9, None) == 1.0


@pytest.mark.parametrize("normalized", [False, True])
def test_the_gradient_is_that_of_the_published_loss(normalized: bool) -> None:
    """Summed over time, a mean over copies; steps that do not count are left out, also of the mean's sums. Normalised, targets and
    advantages are in units of the targets' standard deviation."""
    given = rollout(6, 4, GOALS)
    given.reward *= 10
    given.weight[2, 1] = 0.0
    given.terminated[4, 0] = 1.0
    given.first[5, 0] = 1.0  # type: ignore[index]
    ours = learner(rollouts=4, entropy_coef=0.01, value_coef=0.5, max_grad_norm=1e9, epsilon=0.01, normalize_values=normalized)
    twin = learner(rollouts=4, max_grad_norm=1e9, epsilon=0.01)
    inputs = torch.cat([given.observation, given.goal], dim=2)
    assert given.next_goal is not None
    last = torch.cat([given.next_observation[-1], given.next_goal[-1]], dim=1)
    outputs, values = twin.network.heads(twin.network.trunk(torch.cat([inputs.flatten(0, 1), last])))
    chances, value = outputs[:24].log_softmax(dim=1), values.view(7, 4)
    chosen = chances.gather(1, given.action.flatten(0, 1)).view(6, 4)
    ratio = (chosen - given.extras["log_probability"]).detach()
    assert given.first is not None
    returns = vtrace(ratio, given.reward, 0.99 * (1 - given.terminated), value.detach(), given.weight, given.first)
    entropy = -(chances.exp() * chances).sum(dim=1).view(6, 4)
    targets = returns.target[given.weight > 0]
    mean, deviation = (float(targets.mean()), float(targets.std(correction=0))) if normalized else (0.0, 1.0)
    assert (deviation > 2) == normalized
    error = (returns.target - mean) / deviation - value[:6]
    terms = -chosen * returns.advantage / deviation + 0.25 * error.square() - 0.01 * entropy
    (terms * given.weight).mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
    twin.optimiser.step()
    ours.learn(given)
    torch.testing.assert_close(ours.vector, twin.vector, atol=1e-5, rtol=1e-5)
    assert ours.frames == 23 and ours.updates == 1


def test_a_rollout_of_many_copies_makes_several_updates() -> None:
    student = learner(copies=10, rollouts=4, decay_steps=120)
    metrics = student.learn(rollout(6, 10, GOALS))
    assert student.updates == 2 and student.frames == 60 and metrics["rate"] == pytest.approx(0.0005)
    before = student.vector.clone()
    student.learn(rollout(6, 10, GOALS))
    assert not torch.equal(before, student.vector)
    before = student.vector.clone()
    student.learn(rollout(6, 10, GOALS))
    assert torch.equal(before, student.vector), "the rate has fallen to 0"


def play(student: IMPALA, steps: int, copies: int, seed: int = 0) -> Batch:
    """Act through a `RolloutBuffer` with episodes that end and goals that change at any step."""
    random = np.random.default_rng(seed)
    buffer = RolloutBuffer(steps, copies, student_width(), 1, True)
    encodings, flags = goal_encodings(None, GOALS), np.full(copies, FIRST, np.uint16)
    goals = random.integers(0, GOALS, copies)
    for tick in range(2 * steps + 1):
        seen = features(random_observations(copies, seed + tick))
        change = random.random(copies) < 0.4
        goals = np.where(change, random.integers(0, GOALS, copies), goals)
        buffer.add(seen, random.random(copies).astype(np.float32), flags, True, goals)
        rows = np.flatnonzero(flags != DONE)
        choice = student.act(seen[rows], encodings[goals[rows]], rows, flags[rows] == FIRST, True)
        buffer.acted(rows, goals[rows], choice, flags[rows] == FIRST)
        flags = np.where(flags == DONE, FIRST, np.where(random.random(copies) < 0.15, DONE, MEMBER)).astype(np.uint16)
    taken = buffer.take()
    assert taken is not None
    return rollout_batch(taken, Features(layout(), 1), encodings)


def student_width() -> int:
    return int(policy_spec().observation[0])


@pytest.mark.parametrize("memory", [0, 2])
def test_the_learner_asks_with_the_goal_and_the_state_of_the_moment(memory: int) -> None:
    """With equal weights it finds the probabilities with which the actor chose, also right after a goal has changed, after an episode has
    ended, and in a rollout that begins in the midst of one."""
    student = learner(recurrent=layers(memory), copies=6)
    given = play(student, 12, 6)
    assert given.first is not None and given.next_goal is not None
    own = given.weight > 0
    assert own.any() and not own.all() and (given.goal != given.next_goal).any()
    inputs = torch.cat([given.observation, given.goal], dim=2)
    state = given.extras["memory"][0] if memory else None
    with torch.no_grad():
        outputs, _ = student.network.unroll(inputs, state, given.first)
    found = student.head.log_probability(student.head.parameters(outputs), given.action.flatten(0, 1)).view(own.shape)
    # A step that does not count is not acted on: a state after it is not asked for before the next episode's first.
    torch.testing.assert_close(found[own], given.extras["log_probability"][own], atol=2e-5, rtol=1e-4)
    assert student.learn(given)["importance"] == pytest.approx(1.0, abs=1e-4)


def test_the_value_after_the_last_step_is_asked_with_the_goal_that_is_in_force_then() -> None:
    given, other = rollout(3, 4, GOALS), rollout(3, 4, GOALS)
    assert other.next_goal is not None
    other.next_goal = other.next_goal.clone()
    other.next_goal[-1] = other.next_goal[-1].roll(1, dims=1)
    ours, others = learner(), learner()
    ours.learn(given)
    others.learn(other)
    assert not torch.equal(ours.vector, others.vector)


def test_recurrent_states_are_kept_by_row_and_cleared_at_an_episode_s_start() -> None:
    student = learner(recurrent={"cell": "lstm"})
    seen, goals = features(random_observations(4)), np.zeros((4, GOALS), np.float32)
    rows, none = np.arange(4), np.zeros(4, bool)

    def states(first: NDArray[np.bool_]) -> NDArray[np.float32]:
        return student.act(seen, goals, rows, first, True).extras["memory"]

    assert not states(~none).any()
    second = states(none)
    assert (second != 0).any(axis=1).all()
    third = states(np.array([True, False, False, False]))
    assert not third[0].any() and (third[1:] != second[1:]).any()
    student.act(seen[:1], goals[:1], np.array([1]), none[:1], False)
    assert "memory" not in student.act(seen, goals, rows, none, False).extras


class Pole:
    """CartPole without sockets: K copies of the differential equation (Barto, Sutton & Anderson, 1983), Euler steps of 20 ms."""

    def __init__(self, copies: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.state = self.random.uniform(-0.05, 0.05, (copies, 4))
        self.length = np.zeros(copies, np.int64)

    def step(self, right: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns which poles have fallen (they stand again at the next step)."""
        x, speed, angle, turn = self.state.T
        force = np.where(right, 10.0, -10.0)
        sine, cosine = np.sin(angle), np.cos(angle)
        pushed = (force + 0.05 * turn**2 * sine) / 1.1
        bend = (9.8 * sine - cosine * pushed) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        slide = pushed - 0.05 * bend * cosine / 1.1
        self.state = np.stack([x + 0.02 * speed, speed + 0.02 * slide, angle + 0.02 * turn, turn + 0.02 * bend], axis=1)
        self.length += 1
        fallen: NDArray[np.bool_] = (np.abs(self.state[:, 0]) > 2.4) | (np.abs(self.state[:, 2]) > 0.2095)
        return fallen

    def stand(self, rows: NDArray[np.bool_]) -> None:
        self.state[rows] = self.random.uniform(-0.05, 0.05, (int(rows.sum()), 4))
        self.length[rows] = 0


def test_it_learns_to_balance_a_pole() -> None:
    """A network without a grid; the pole falls after about 20 steps at first."""
    copies, steps = 16, 32
    settings = IMPALASettings(hidden=[64], rollouts=8, learning_rate=2e-3, steps=steps, entropy_coef=0.005, discount=0.98)
    student = IMPALA(settings, PolicySpec((4,), 0, (2,)), copies, 1)
    buffer, poles = RolloutBuffer(steps, copies, 4, 1, True), Pole(copies, 0)
    encodings, lengths = goal_encodings(None), []
    flags, width = np.full(copies, FIRST, np.uint16), Features(layout(), 1)
    for _ in range(5000):
        seen = poles.state.astype(np.float32)
        buffer.add(seen, np.ones(copies, np.float32), flags, True)
        whole = buffer.take()
        if whole is not None:
            student.learn(rollout_batch(whole, width, encodings))
        rows, first = np.flatnonzero(flags != DONE), flags == FIRST
        choice = student.act(seen[rows], np.zeros((len(rows), 0), np.float32), rows, first[rows], True)
        buffer.acted(rows, np.full(len(rows), -1), choice, first[rows])
        over = flags == DONE
        right = np.zeros(copies, bool)
        right[rows] = choice.actions[:, 0] == 1
        fallen = poles.step(right) & ~over
        lengths += poles.length[fallen].tolist()
        poles.stand(over)
        flags = np.where(over, FIRST, np.where(fallen, DONE, MEMBER)).astype(np.uint16)
        if len(lengths) > 300 and np.mean(lengths[-20:]) > 120:
            break
    assert np.mean(lengths[:50]) < 40
    assert np.mean(lengths[-20:]) > 120, f"after {student.frames} steps"


@pytest.mark.parametrize("memory", [0, 1])
def test_what_was_learnt_outlives_a_restart(memory: int) -> None:
    student = learner(recurrent=layers(memory), momentum=0.5, decay_steps=10**6)
    student.learn(play(student, 6, 4))
    other = learner(seed=9, recurrent=layers(memory), momentum=0.5, decay_steps=10**6)
    other.load_state_dict(student.state_dict())
    given = play(learner(recurrent=layers(memory)), 6, 4, seed=3)
    assert student.learn(given) == other.learn(given)
    assert torch.equal(student.vector, other.vector) and other.updates == student.updates
    with pytest.raises(ValueError, match="frames is missing"):
        other.load_state_dict({name: part for name, part in student.state_dict().items() if name != "frames"})
    assert "rewards" in student.live()
    with pytest.raises(ValueError, match="network has shape"):
        learner(hidden=[8]).load_state_dict(student.state_dict())
