"""What a policy is paid: the environment's reward, those of teacher and curiosity, and what an agent makes of them tick by tick."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch, Frame, IntrinsicReward, Metrics, Teacher, TeacherOutput, TransitionBatch
from agent_node.session.acting import Actor
from agent_node.session.agent_components import AgentComponents
from agent_node.session.reward_composition import RewardComposition
from agent_node.session.roles import REWARDS, ROLLOUT, TEACHER
from agent_node.session.training import create_trainer
from agent_node.session.transition_batches import rollout_batch
from agent_node.settings.agent import AgentSettings, ShapingSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.telemetry import TimeShares
from protocols.spaces.layout import Layout
from tests.agent_node.grid_worlds import DONE, FIRST, MEMBER, features, layout, random_observations

COPIES = 3
TRUNCATED = int(Flag.MEMBER | Flag.TRUNCATED | Flag.OVER)


class Told(Teacher, IntrinsicReward):
    """Returns the given rewards, and stores its arguments."""

    goal_length = 20

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.transitions: list[TransitionBatch] = []
        self.pays = np.zeros(COPIES, np.float32)
        self.late = np.zeros(COPIES, np.float32)
        self.goals = np.zeros(COPIES, np.int64)

    def step(self, frame: Frame) -> TeacherOutput:
        self.frames.append(frame)
        return TeacherOutput(self.goals, self.pays, self.late)

    def reward(self, transitions: TransitionBatch) -> NDArray[np.float32]:
        self.transitions.append(transitions)
        return self.pays[transitions.rows]

    def learn(self, batch: Batch) -> Metrics:
        return {"loss": float(batch.weight.sum())}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"pays": torch.from_numpy(self.pays)}

    def load_state_dict(self, state: Any) -> None:
        self.pays = state["pays"].numpy().copy()


class Ticks:
    """Ticks of three copies that show random grids."""

    def __init__(self, motivation: RewardComposition) -> None:
        self.motivation, self.number = motivation, 0

    def __call__(self, flags: list[int] | int, reward: float | list[float] = 0.0, continuous: bool = True) -> Any:
        self.raw = random_observations(COPIES, self.number)
        self.number += 1
        rewards = np.broadcast_to(np.array(reward, np.float32), (COPIES,)).copy()
        flag = np.broadcast_to(np.array(flags, np.uint16), (COPIES,)).copy()
        return self.motivation.compose(self.raw, features(self.raw), rewards, flag, continuous)


@pytest.mark.parametrize(
    ("shaping", "extrinsic", "intrinsic", "wanted"),
    [
        (ShapingSettings(), 0.0, 0.4, 0.4),
        (ShapingSettings(), 0.0, 1.7, 1.0),
        (ShapingSettings(), 0.9, 0.0, 1.9),
        (ShapingSettings(), 0.9, 0.5, 2.0),
        (ShapingSettings(), -3.0, 0.5, -1.0),
        (ShapingSettings(clip=None, bonus=0.5), 0.9, 0.5, 1.9),
        (None, 0.9, 0.5, 1.4),
    ],
)
def test_rewards_are_clipped_together_and_the_task_adds_a_bonus(
    shaping: ShapingSettings | None, extrinsic: float, intrinsic: float, wanted: float
) -> None:
    teacher = Told()
    tick = Ticks(RewardComposition(teacher, None, shaping, COPIES))
    tick(FIRST)
    teacher.pays[:] = intrinsic
    assert tick(MEMBER, extrinsic).reward.tolist() == pytest.approx([wanted] * COPIES)


def test_what_becomes_known_late_changes_the_reward_as_if_it_had_been_known() -> None:
    teacher = Told()
    tick = Ticks(RewardComposition(teacher, None, ShapingSettings(), COPIES))
    tick(FIRST)
    assert tick([DONE, DONE, MEMBER], [0.9, 0.0, 0.0]).late is None
    teacher.late[:] = (0.5, 0.4, 0.0)
    late = tick([FIRST, FIRST, MEMBER]).late
    assert late.tolist() == pytest.approx([0.1, 0.4, 0.0]), "clip(0.9 + 0.5) + 1 instead of 0.9 + 1"


def test_curiosity_is_asked_about_the_agent_s_own_steps_in_training() -> None:
    told = Told()
    told.pays[:] = 0.25
    tick = Ticks(RewardComposition(None, told, None, COPIES))
    tick([FIRST, FIRST, FIRST | int(Flag.EVALUATION)])
    before = tick.raw
    composed = tick([MEMBER, DONE, MEMBER | int(Flag.EVALUATION)], 0.5)
    assert composed.reward.tolist() == [0.75, 0.75, 0.5] and composed.goals is None
    (asked,) = told.transitions
    assert asked.rows.tolist() == [0, 1] and asked.begins.all()
    assert np.array_equal(asked.raw, before[:2]) and np.array_equal(asked.next_raw, tick.raw[:2]), "the terminal grid where it ended"
    assert np.array_equal(asked.next_observation, features(tick.raw)[:2])
    tick([TRUNCATED, FIRST, 0])
    assert told.transitions[-1].rows.tolist() == [0] and not told.transitions[-1].begins.any()
    tick(MEMBER, continuous=False)
    assert len(told.transitions) == 2, "the steps in between are unknown"


def test_metrics_are_means() -> None:
    teacher, curiosity = Told(), Told()
    motivation = RewardComposition(teacher, curiosity, None, COPIES)
    tick = Ticks(motivation)
    tick(FIRST)
    teacher.pays[:] = 0.5
    tick(MEMBER)
    tick(MEMBER)
    for weight in (2.0, 4.0):
        motivation.learn(Batch(*[torch.full((1, 1), weight)] * 8))
    assert motivation.metrics() == {"intrinsic": 0.5, "teacher.loss": 3.0, "curiosity.loss": 3.0}
    assert motivation.metrics() == {"intrinsic": 0.0}


SETTINGS: dict[str, Any] = {
    "learner": {"kind": "impala", "steps": 8, "hidden": [16], "rollouts": 8},
    "goals": None,
    "teacher": {"kind": "amigo", "batch_size": 8, "changed_by": "any_agent"},  # random grids change everywhere
    "curiosity": {"kind": "bebold"},
    "shaping": {},
}


def components(where: Layout | None = None, **changes: Any) -> AgentComponents:
    settings = AgentSettings.model_validate(SETTINGS | changes)
    return AgentComponents(settings, ExchangeSettings(), where or layout(), 8, "agent-0", 0)


def rollout(built: AgentComponents) -> Batch | None:
    found = built[ROLLOUT].take()
    return None if found is None else rollout_batch(found, built.features, built.encodings)


def live(built: AgentComponents, ticks: int, seed: int = 0) -> dict[str, float]:
    """An agent in copies that show random grids and end their episodes at random; the metrics of its learning."""
    random, actor, trainer = np.random.default_rng(seed), Actor(built), create_trainer(built, TimeShares())
    flags, applied, episode = np.full(8, FIRST, np.uint16), np.zeros((8, 1), np.int32), np.arange(8)
    for tick in range(ticks):
        arrays = {
            "observation": random_observations(8, seed + tick), "reward": (random.random(8) < 0.05).astype(np.float32),
            "flags": flags, "episode": episode, "applied": applied,
        }  # fmt: skip
        applied, _ = actor.observe(arrays, tick > 0)
        trainer.tick()
        over = (flags & Flag.OVER) != 0
        episode = episode + 8 * over
        ending = np.where(random.random(8) < 0.5, DONE, TRUNCATED)
        flags = np.where(over, FIRST, np.where(random.random(8) < 0.1, ending, MEMBER)).astype(np.uint16)
    return trainer.take_metrics() | built.metrics()


@pytest.mark.parametrize("kind", ["impala", "ppo"])
@pytest.mark.parametrize("boundary", ["terminal_grid", "reset_grid"])
def test_an_agent_learns_with_teacher_and_curiosity(kind: str, boundary: str) -> None:
    learner = {"kind": kind, "steps": 8, "hidden": [16]}
    built = components(learner=learner, teacher={"kind": "amigo", "batch_size": 8, "boundary": boundary, "changed_by": "any_agent"})
    metrics = live(built, 60)
    assert {
        "learner.entropy",
        "intrinsic",
        "teacher.threshold",
        "teacher.reached",
        "curiosity.reward",
        "curiosity.loss",
    } <= metrics.keys()
    assert metrics["teacher.reached"] > 0.5, "random grids change wherever one looks"
    assert built.get(REWARDS) is not None and built.get(ROLLOUT) is not None


def test_a_rollout_holds_the_goals_that_were_in_force_and_the_rewards_as_mixed() -> None:
    built = components(curiosity=None)
    actor, random = Actor(built), np.random.default_rng(0)
    teacher = built[TEACHER]
    assert built.encodings.shape == (21, 20) and not built.encodings[-1].any()
    goals, flags = [], np.full(8, FIRST, np.uint16)
    for tick in range(10):
        arrays = {
            "observation": random_observations(8, tick), "reward": random.random(8).astype(np.float32), "flags": flags,
            "episode": np.arange(8), "applied": np.zeros((8, 1), np.int32),
        }  # fmt: skip
        actor.observe(arrays, tick > 0)
        goals.append(teacher.active_goals.goal.copy())  # type: ignore[attr-defined]
        flags = np.full(8, MEMBER, np.uint16)
    batch = rollout(built)
    assert batch is not None and batch.next_goal is not None
    assert np.array_equal(batch.goal.argmax(dim=2).numpy(), np.stack(goals[:8]))
    assert np.array_equal(batch.next_goal.argmax(dim=2).numpy(), np.stack(goals[1:9]))
    assert len(set(np.stack(goals).reshape(-1).tolist())) > 10
    assert (batch.reward > 1).all(), "every reward was positive, and has its bonus"


def test_a_learner_from_rollouts_acts_even_where_nobody_gets_its_actions() -> None:
    built = components(learner={"kind": "impala", "steps": 4, "hidden": [16]}, curiosity=None)
    actor = Actor(built)
    for tick in range(6):
        flags = np.full(8, FIRST if tick == 0 else MEMBER | Flag.SUBSTITUTED if tick == 2 else MEMBER, np.uint16)
        arrays = {
            "observation": random_observations(8, tick), "reward": np.zeros(8, np.float32), "flags": flags,
            "episode": np.arange(8), "applied": np.zeros((8, 1), np.int32),
        }  # fmt: skip
        actor.observe(arrays, tick > 0, answer=tick != 1)
    batch = rollout(built)
    assert batch is not None and batch.weight.tolist() == [[1.0] * 8, [0.0] * 8, [1.0] * 8, [1.0] * 8]


@pytest.mark.parametrize(("boundary", "wanted"), [("reset_grid", 1 - 0.9 / 100), ("ignored", 0.0)])
def test_a_step_is_paid_for_what_the_next_episode_s_grid_shows(boundary: str, wanted: float) -> None:
    """The last step of an episode of one; every cell of the next grid is another."""
    learner = {"kind": "impala", "steps": 2, "hidden": [16]}
    built = components(learner=learner, curiosity=None, teacher={"kind": "amigo", "boundary": boundary})
    actor, same, other = Actor(built), np.zeros((8, 62), np.uint8), np.ones((8, 62), np.uint8)
    for tick, (seen, flag) in enumerate([(same, FIRST), (same, DONE), (other, FIRST), (other, MEMBER)]):
        arrays = {
            "observation": seen, "reward": np.zeros(8, np.float32), "flags": np.full(8, flag, np.uint16),
            "episode": np.arange(8) + 8 * (tick > 1), "applied": np.zeros((8, 1), np.int32),
        }  # fmt: skip
        actor.observe(arrays, tick > 0)
    batch = rollout(built)
    assert batch is not None and batch.weight.tolist() == [[1.0] * 8, [0.0] * 8]
    assert batch.reward[0].tolist() == pytest.approx([wanted] * 8)


def test_everything_outlives_a_restart() -> None:
    one, other = components(), components()
    live(one, 40)
    tensors, manifest = one.state()
    other.load(tensors, manifest)
    assert {name.split("/")[0] for name in tensors} == {"learner", "teacher", "curiosity"}
    assert live(one, 40, seed=100)["teacher.threshold"] == live(other, 40, seed=100)["teacher.threshold"]
    again = components()
    for name in ("teacher/queue.goal", "curiosity/target", "learner/network"):
        with pytest.raises(ValueError, match="missing"):
            again.load({key: tensor for key, tensor in tensors.items() if key != name}, manifest)


def test_parts_that_do_not_fit_are_refused_with_the_cure() -> None:
    with pytest.raises(ConfigurationError, match="choose impala or ppo"):
        components(learner={"kind": "double_dqn"}, teacher=None)
    with pytest.raises(ConfigurationError, match=r"agents\.teacher.*write null"):
        components(where=Layout(shape=[4], actions=[2]))


class Restarting(Told):
    """Ends the episode of the first copy at every tick."""

    def step(self, frame: Frame) -> TeacherOutput:
        return TeacherOutput(self.goals, self.pays, self.late, np.array([True, False, False]))


def test_what_a_teacher_ends_is_over_for_policy_and_curiosity() -> None:
    curiosity = Told()
    tick = Ticks(RewardComposition(Restarting(), curiosity, None, COPIES))
    composed = tick(FIRST)
    assert composed.restart.tolist() == [True, False, False]
    assert composed.flags.tolist() == [FIRST | int(Flag.TERMINATED | Flag.OVER), FIRST, FIRST]
    tick(MEMBER)
    assert curiosity.transitions[-1].rows.tolist() == [1, 2], "no step was made where the episode had been ended"
