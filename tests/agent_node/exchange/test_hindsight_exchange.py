"""Consequences of an episode with all traces: goal sources that use partners' goals, tables that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, PolicySpec
from agent_node.exchange.goal_negotiation import CoordinationGame
from agent_node.exchange.hindsight_exchange import HindsightExchange
from agent_node.exchange.settings import CoordinationGameSettings, HindsightSettings
from agent_node.goals.learning_progress import JointLearningProgress
from agent_node.goals.settings import JointLearningProgressSettings
from agent_node.learners.discrete_sac import DiscreteSAC
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.settings import DiscreteSACSettings, DoubleDQNSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.session.roles import GOAL_NEGOTIATION, HINDSIGHT, NEGOTIATION, REPLAY
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.layout import Layout
from tests.agent_node.exchange.loopback import Loopback
from tests.agent_node.exchange.test_exchanges import deliver

SPACE = FeatureSets(3)
FEATURES = Features(Layout(shape=[2], actions=[3, 2]), 2)
INTERFACE = FEATURES.policy_spec(3)
A, B = "agent-0", "agent-1"
Learners = DoubleDQN | DiscreteSAC


def learner(kind: str, seed: int = 0, rows: int = 64, policy_spec: PolicySpec = INTERFACE, **changes: Any) -> Learners:
    if kind == "double_dqn":
        return DoubleDQN(DoubleDQNSettings(hidden=[16], **changes), policy_spec, rows, seed)
    return DiscreteSAC(DiscreteSACSettings(hidden=[16], **changes), policy_spec, rows, seed)


@pytest.mark.parametrize(("kind", "exploration"), [("double_dqn", 0.3), ("discrete_sac", 0.0), ("discrete_sac", 0.4)])
def test_probabilities_are_those_with_which_it_acts(kind: str, exploration: float) -> None:
    one = learner(kind, rows=2000, exploration=exploration, exploration_hold=(1, 1))
    assert {"probabilities", "td_errors"} <= set(one.capabilities)
    observation = np.tile(np.random.default_rng(0).standard_normal((1, *INTERFACE.observation)).astype(np.float32), (2000, 1))
    goal = np.tile(np.eye(3, dtype=np.float32)[:1], (2000, 1))
    everything = one.actions.table
    told = np.exp(one.log_probability(observation[: len(everything)], goal[: len(everything)], everything))
    assert told.sum() == pytest.approx(1.0, abs=1e-5)
    rows, first = np.arange(2000), np.zeros(2000, bool)
    actions = np.concatenate([one.act(observation, goal, rows, first, True).actions for _ in range(20)])
    counts = [(actions == action).all(axis=1).mean() for action in everything]
    np.testing.assert_allclose(told, counts, atol=0.015)


@pytest.mark.parametrize("kind", ["double_dqn", "discrete_sac"])
def test_what_it_would_never_do_has_a_finite_probability(kind: str) -> None:
    one = learner(kind, exploration=0.0)
    zeros = np.zeros((6, *INTERFACE.observation), np.float32)
    assert np.isfinite(one.log_probability(zeros, np.zeros((6, 3), np.float32), one.actions.table)).all()


@pytest.mark.parametrize("kind", ["double_dqn", "discrete_sac"])
def test_surprise_is_the_error_that_learning_sees_and_changes_nothing(kind: str) -> None:
    one, random = learner(kind), torch.Generator().manual_seed(0)
    rows = 32
    batch = Batch(
        observation=torch.randn(rows, *INTERFACE.observation, generator=random),
        goal=torch.eye(3)[torch.randint(0, 3, (rows,), generator=random)],
        action=torch.stack([torch.randint(0, n, (rows,), generator=random) for n in (3, 2)], dim=1),
        reward=torch.rand(rows, generator=random),
        next_observation=torch.randn(rows, *INTERFACE.observation, generator=random),
        terminated=(torch.rand(rows, generator=random) < 0.3).float(),
        weight=torch.ones(rows),
        imagined=torch.zeros(rows),
    )
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    error = one.td_errors(batch)
    assert error.shape == (rows,)
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, before[name])
    loss = one.learn(batch)["loss"]
    if kind == "double_dqn":
        assert np.square(error).mean() == pytest.approx(loss, rel=1e-4)
    else:
        assert np.square(error).mean() <= loss / 2 * (1 + 1e-4)  # the loss adds the squares of two critics, whose mean error is reported
        assert error.mean() > 0.5 * np.sqrt(loss / 2)


def lived(number: int, goal: int, touched: str, seed: int, steps: int | None = None) -> Episode:
    """An episode in which the own body touches `touched` (`.` or a landmark's digit, a row each); its own part may end sooner."""
    random = np.random.default_rng(seed)
    achieved = np.array([[c == str(i) for i in range(3)] for c in touched], np.uint8)
    steps = len(touched) - 1 if steps is None else steps
    return Episode(
        number=number,
        observation=random.standard_normal((steps + 1, 2)).astype(np.float32),
        action=np.stack([random.integers(0, n, steps) for n in (3, 2)], axis=1).astype(np.int32),
        reward=np.zeros(steps, np.float32),
        terminated=False,
        goal=goal,
        achieved=achieved,
        substituted=np.zeros(steps, bool),
    )


class Pair:
    """Two sides of the exchange, with buffers of their own."""

    def __init__(self, settings: HindsightSettings, buffers: tuple[bool, bool] = (True, True)) -> None:
        self.buffers = {name: ReplayBuffer(1000, FEATURES, SPACE) if has else None for name, has in zip((A, B), buffers, strict=True)}
        self.sides = {name: HindsightExchange(settings, SPACE, self.buffers[name], np.random.default_rng(0), 100) for name in (A, B)}

    def play(self, episodes: dict[str, Episode], rounds: int = 3) -> dict[str, list[Any]]:
        """Both sides finish and receive messages until nothing is left to send."""
        completed: dict[str, list[Any]] = {A: [], B: []}
        for name, episode in episodes.items():
            buffer = self.buffers[name]
            if buffer is not None:
                buffer.add(episode)
            self.sides[name].finished(episode, (B if name == A else A,), 0.0)
        for _ in range(rounds):
            deliver({name: side.machine for name, side in self.sides.items()})
            for name, side in self.sides.items():
                completed[name] += side.attach()
        return completed


EPISODES = {A: lived(7, 0, ".0..00", 1), B: lived(7, 2, "....11", 2, steps=3)}
"""{0}, then {1}, then {0, 1} at the last rows, when B has ended"""


def test_an_agent_without_a_buffer_tells_and_hears_as_ever() -> None:
    pair = Pair(HindsightSettings(), buffers=(False, True))
    completed = pair.play(EPISODES)
    assert [one.partner_goals for one in completed[A]] == [(2,)] and [one.partner_goals for one in completed[B]] == [(0,)]
    buffer = pair.buffers[B]
    assert pair.sides[A].complete == 1 and buffer is not None and buffer.joint_count == 3


# --- whole agents ---------------------------------------------------------------------------------------------------------------------

AGENT = AgentSettings(
    learner=DoubleDQNSettings(hidden=[16], learning_starts=200, batch_size=32, exploration=0.6, exploration_hold=(3, 11)),
    goals=JointLearningProgressSettings(window=10),
)
Make = Callable[..., Loopback]


@pytest.fixture
def loopback() -> Iterator[Make]:
    made: list[Loopback] = []

    def make(exchange: ExchangeSettings, agents: AgentSettings = AGENT, **more: Any) -> Loopback:
        made.append(Loopback({A: agents, B: agents}, exchange, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_table_learns_from_real_records_only(loopback: Make) -> None:
    """Everything that hindsight can do is on. The table is what the negotiated episodes' own rewards make of it, and nothing else."""
    hindsight = HindsightSettings(strategies=["future", "joint", "peer_goal"], share=0.8)
    game = CoordinationGameSettings()
    run = loopback(ExchangeSettings(negotiation=game, hindsight=hindsight))
    real = {name: CoordinationGame(game, SPACE.count) for name in (A, B)}
    for _ in range(400):
        before = {name: len(run.finished[name]) for name in (A, B)}
        run.tick()
        for name in (A, B):
            for episode in run.finished[name][before[name] :]:
                if episode.negotiated:
                    real[name].update([(episode.goal, episode.message, episode.total_reward)])
    for name in (A, B):
        session = run.session[name]
        game = session.components[NEGOTIATION]
        assert isinstance(game, CoordinationGame) and session.components.get(HINDSIGHT) is not None
        np.testing.assert_array_equal(game.table, real[name].table)
        assert real[name].table.any() and session.trainer.updates > 100
        sample = session.components[REPLAY].sample(500, np.random.default_rng(0), 0.8, hindsight.strategies)
        paid = sample.relabelled & (sample.reward > 0)
        assert paid.sum() > 5, "hindsight had successes to offer, which the table must not use"
    assert run.sent["Trace"] == run.sent["TraceAck"] > 0


def test_joint_learning_progress_hears_of_every_episode_whose_trace_has_come(loopback: Make) -> None:
    run = loopback(ExchangeSettings(hindsight=HindsightSettings()))
    run.environment.evaluate(20, aligned=False)
    run.tick(300)
    for name, other in ((A, B), (B, A)):
        source = run.session[name].components[GOAL_NEGOTIATION].source
        assert isinstance(source, JointLearningProgress)
        goals = {episode.number: episode.goal for episode in run.finished[other]}
        reference = JointLearningProgress(JointLearningProgressSettings(window=10), SPACE.count)
        training = [episode for episode in run.finished[name] if not episode.evaluation]
        assert len(training) < len(run.finished[name]), "evaluations were played, and do not count"
        for episode in training:
            reference.completed(episode.goal, episode.total_reward, [goals[episode.number]])
        np.testing.assert_array_equal(source.state_dict()["counts"], reference.state_dict()["counts"])
        np.testing.assert_array_equal(source.probabilities(), reference.probabilities())
        assert source.progress().any()


def test_a_source_that_hears_of_partners_stays_uniform_without_traces(loopback: Make) -> None:
    run = loopback(ExchangeSettings(hindsight=None))
    run.tick(150)
    for name in (A, B):
        assert not run.session[name].components[GOAL_NEGOTIATION].source.probabilities().std()
