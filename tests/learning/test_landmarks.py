"""The parts together on the real arena, in one process: what is recorded is what the arena paid, and policies improve."""

import numpy as np
import pytest
import torch

from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.settings import DoubleDQNSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.acting import EpisodeRecorder
from agent_node.session.observation_features import Features, HistoryStack
from agent_node.session.transition_batches import goal_encodings, make_batch
from env_server.environments.landmarks.landmarks_environment import VectorLandmarks
from env_server.environments.landmarks.settings import LandmarksOptions
from protocols.conversations.episode_exchange import intervals, touches
from protocols.conversations.stepping.stepping_messages import Flag

NAMES = ("agent-0", "agent-1")
COPIES = 32
ENDED = Flag.PARKED | Flag.OVER | Flag.TERMINATED | Flag.TRUNCATED


class Agent:
    """One agent's parts, joined as an agent process joins them, without messages."""

    def __init__(self, environment: VectorLandmarks, seed: int) -> None:
        layout = environment.layout(NAMES[0])
        self.features = Features(layout, 2)
        self.stack = HistoryStack(COPIES, self.features)
        self.recorder = EpisodeRecorder(COPIES, self.features, environment.goal_space)
        self.buffer = ReplayBuffer(50_000, self.features, environment.goal_space)
        settings = DoubleDQNSettings(hidden=[64, 64], learning_rate=1e-3, exploration=0.15, tau=0.02, value_range=(0.0, 1.0))
        self.learner = DoubleDQN(settings, self.features.policy_spec(3), COPIES, seed)
        self.random = np.random.default_rng(seed)
        self.goal = np.full(COPIES, -1, np.int64)


class World:
    """Two agents with independent uniform goals."""

    def __init__(self, seed: int = 0) -> None:
        self.environment = VectorLandmarks(LandmarksOptions(landmarks=3, room=150, horizon=60, sight=300), NAMES, COPIES, None, seed)
        self.space = self.environment.goal_space
        self.encodings = goal_encodings(self.space)
        self.agents = [Agent(self.environment, 10 * seed + i) for i in range(2)]
        self.goals: dict[tuple[int, int], int] = {}
        self.waiting: dict[int, Episode] = {}
        self.episodes: list[tuple[Episode, Episode]] = []
        self.outcome = self.environment.reset(seed)
        self.offer()

    def offer(self) -> None:
        for offer in self.environment.offers():
            for i, agent in enumerate(self.agents):
                self.goals[i, offer.episode] = int(agent.random.integers(self.space.count)) if offer.goal < 0 else offer.goal
                self.environment.set_goal(offer.episode, NAMES[i], self.goals[i, offer.episode], False)

    def tick(self) -> None:
        actions = {name: self.act(i, name) for i, name in enumerate(NAMES)}
        self.outcome = self.environment.step(actions)
        self.offer()
        for i, (name, agent) in enumerate(zip(NAMES, self.agents, strict=True)):
            seen = self.outcome.agents[name]
            first = np.flatnonzero(seen.flags & Flag.FIRST)
            agent.goal[first] = [self.goals[i, number] for number in self.outcome.episode[first].tolist()]
            for episode in agent.recorder.tick(
                seen.observation, seen.reward, seen.flags, self.outcome.episode, actions[name], seen.achieved, agent.goal
            ):
                self.finish(i, episode)

    def act(self, i: int, name: str) -> np.ndarray:
        agent, seen = self.agents[i], self.outcome.agents[name]
        stacked = agent.stack.push(seen.observation, seen.flags)
        actions = np.zeros((COPIES, 2), np.int32)
        playing = ((seen.flags & Flag.MEMBER) != 0) & ((seen.flags & ENDED) == 0)
        greedy = (seen.flags & Flag.EVALUATION) != 0
        for explore in (False, True):
            rows = np.flatnonzero(playing & (greedy != explore))
            first = (seen.flags[rows] & Flag.FIRST) != 0
            chosen = agent.learner.act(agent.features.encode(stacked[rows]), self.encodings[agent.goal[rows]], rows, first, explore)
            actions[rows] = chosen.actions
        return actions

    def finish(self, i: int, episode: Episode) -> None:
        """Keep it, and exchange touches as intervals once both sides are done."""
        if not episode.evaluation:
            self.agents[i].buffer.add(episode)
        other = self.waiting.pop(episode.number, None)
        if other is None:
            self.waiting[episode.number] = episode
            return
        pair = (episode, other) if i == 0 else (other, episode)
        for mine, theirs, agent in ((pair[0], pair[1], self.agents[0]), (pair[1], pair[0], self.agents[1])):
            assert theirs.achieved is not None
            mine.others = touches(intervals(theirs.achieved), theirs.length, 3)[:, None]
            agent.buffer.attach_joint(mine.number, mine.others, (theirs.goal,))
        self.episodes.append(pair)

    def learn(self) -> None:
        for agent in self.agents:
            if len(agent.buffer) >= 1000:
                sample = agent.buffer.sample(256, agent.random, 0.6, ("future", "joint", "peer_goal"))
                agent.learner.learn(make_batch([sample], [False], agent.features, self.encodings))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_rebuilt_rewards_are_the_arenas() -> None:
    """For every episode: own and others' touch, exchanged as intervals, and the shared rule give exactly what the arena paid."""
    world = World()
    for _ in range(300):
        world.tick()
    assert len(world.episodes) > 80
    paid = 0
    for pair in world.episodes:
        for mine in pair:
            assert mine.achieved is not None and mine.others is not None
            assert len(mine.others) == mine.length + 1
            reached = world.space.achieved(mine.achieved, mine.others)[1 : mine.steps + 1, mine.goal]
            np.testing.assert_array_equal(mine.reward, np.where(reached, world.space.rewards[mine.goal], 0))
            assert mine.terminated == reached.any()
            assert mine.terminated or mine.steps == 60
            paid += mine.terminated
    assert paid > 20


def test_observations_and_actions_belong_together() -> None:
    """The heading turns by 0.285 a step: bearings of a landmark far away show which action was taken."""
    world = World(1)
    for _ in range(120):
        world.tick()
    turned = {0: [], 1: [], 2: []}  # type: dict[int, list[float]]
    for pair in world.episodes:
        for mine in pair:
            change = world.agents[0].features.difference(mine.observation[:-1], mine.observation[1:])
            far = (mine.observation[:-1, :6:2] > 0.5) & (mine.observation[1:, :6:2] > 0.5)
            for step, landmark in np.argwhere(far):
                turned[int(mine.action[step, 1])].append(float(change[step, 2 * landmark + 1]))
    assert [round(float(np.median(turned[factor])), 2) for factor in range(3)] == pytest.approx([0.0, -0.285, 0.285], abs=0.03)


def test_policies_improve() -> None:
    """What pairs with independent goals earn, exploring: the first untrained episodes against the last of 600 ticks."""
    world = World(2)
    for _ in range(150):
        world.tick()
    before = [episode.total_reward for pair in world.episodes for episode in pair]
    for _ in range(600):
        world.tick()
        world.learn()
        world.learn()
    after = [episode.total_reward for pair in world.episodes[-150:] for episode in pair]
    assert len(before) > 100
    assert np.mean(after) > 1.35 * np.mean(before)


def test_sight_hides_what_is_far() -> None:
    distances = []
    for sight in (60.0, 300.0):
        options = LandmarksOptions(landmarks=3, room=200, sight=sight)
        environment = VectorLandmarks(options, NAMES, COPIES, None, 0)
        environment.reset(0)
        for offer in environment.offers():
            for name in NAMES:
                environment.set_goal(offer.episode, name, 0, False)
        seen = environment.step({})
        distances.append(np.concatenate([seen.agents[name].observation[:, ::2] * 200 for name in NAMES]))
    near, everything = distances
    assert everything.min() > 0 and everything.max() > 150
    np.testing.assert_array_equal(near, np.where(everything <= 60, everything, 0))
