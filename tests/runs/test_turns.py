"""Turns and action masks from the environment to what learners get: actors and stand-ins as in a run, beside PettingZoo's own loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, Learner
from agent_node.learners.ppo import PPO
from agent_node.memory.episode import Episode
from agent_node.memory.rollout_buffer import Rollout
from agent_node.session.acting import Actor
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import LEARNER, ROLLOUT
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from env_server.environments.registry import create
from env_server.serving.actions import LateActions
from env_server.settings import EnvironmentSettings
from protocols.conversations.stepping.stepping import ClosedTick
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.action_masks import are_legal
from tests.env_server.adapters.turn_environments import CHOICES, played

AGENTS = ["agent-0", "agent-1", "agent-2"]
NAMES = dict(zip(AGENTS, ["ann", "bob", "cyd"], strict=True))
COPIES, STEPS = 5, 9
Step = tuple[int, int, float, int, bool]


class Game:
    """All agents in one process, with the environment server's part of a tick; `late`: a share of the actions does not come in time."""

    def __init__(self, learner: Mapping[str, Any], late: float = 0.0, world_model: Mapping[str, Any] | None = None) -> None:
        settings = EnvironmentSettings(id="tests.env_server.adapters.turn_environments:Knockout", copies=COPIES, late_action="random")
        self.environment = create(settings, AGENTS)
        layouts = {agent: self.environment.layout(agent) for agent in AGENTS}
        exchange = ExchangeSettings.model_validate({"negotiation": None, "hindsight": None, "consensus": None})
        own = AgentSettings.model_validate({"learner": dict(learner), "world_model": world_model, "goals": None, "history": 2})
        self.components = {agent: AgentComponents(own, exchange, layouts[agent], COPIES, agent, 0) for agent in AGENTS}
        self.actors = {agent: Actor(self.components[agent]) for agent in AGENTS}
        self.stand_ins = LateActions(settings, layouts, np.random.default_rng(0))
        self.random, self.late = np.random.default_rng(1), late
        self.outcome = self.environment.reset(0)
        self.applied = {agent: np.zeros((COPIES, 1), np.int32) for agent in AGENTS}
        self.substituted = {agent: np.zeros(COPIES, bool) for agent in AGENTS}
        self.moves: dict[int, dict[int, int]] = {}
        """seed -> moves before -> action that counted"""
        self.replaced: set[tuple[int, int]] = set()
        """(seed, moves before) of actions of stand-ins"""
        self.episodes: list[tuple[str, Episode]] = []
        self.rollouts: list[tuple[str, Rollout]] = []

    def tick(self) -> None:
        actions = {}
        for agent, actor in self.actors.items():
            batch = self.outcome.agents[agent]
            frames = {
                "observation": batch.observation, "reward": batch.reward, "episode": self.outcome.episode, "applied": self.applied[agent],
                "flags": batch.flags | self.substituted[agent] * np.uint16(Flag.SUBSTITUTED),
            }  # fmt: skip
            actions[agent], episodes = actor.observe(frames, continuous=True)
            self.episodes += [(agent, episode) for episode in episodes]
            buffer = self.components[agent].get(ROLLOUT)
            rollout = None if buffer is None else buffer.take()
            self.rollouts += [] if rollout is None else [(agent, rollout)]
        late = frozenset(agent for agent in AGENTS if self.random.random() < self.late)
        closed = ClosedTick(0, {agent: action for agent, action in actions.items() if agent not in late}, late)
        completed = self.stand_ins.complete(closed, self.outcome.agents)
        assert not completed.illegal
        self.applied, self.substituted = completed.actions, completed.substituted
        for agent in AGENTS:
            batch, unused = self.outcome.agents[agent], Flag.WAITING | Flag.PARKED | Flag.TERMINATED | Flag.TRUNCATED | Flag.OVER
            for copy in np.flatnonzero((batch.flags & (Flag.MEMBER | unused)) == Flag.MEMBER):
                moves, _, seed = map(int, batch.observation[copy, :3])
                self.moves.setdefault(seed, {})[moves] = int(self.applied[agent][copy, 0])
                if agent in late:
                    self.replaced.add((seed, moves))
        self.outcome = self.environment.step(self.applied)


@pytest.mark.parametrize("late", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["double_dqn", "ppo"])
def test_episodes_hold_the_steps_of_pettingzoos_own_loop(kind: str, late: float) -> None:
    game = Game({"kind": kind, "hidden": [8]}, late)
    for _ in range(200):
        game.tick()
    assert len(game.episodes) > 150
    for agent, episode in game.episodes:
        seed, expected = int(episode.observation[0, 2]), []
        steps = zip(episode.observation[:-1, 0], episode.action[:, 0], episode.reward, episode.observation[1:, 0], strict=True)
        found = [(int(before), int(action), float(reward), int(after)) for before, action, reward, after in steps]
        expected = played(seed, game.moves[seed])[NAMES[agent]]
        assert found == [step[:4] for step in expected] and episode.terminated == expected[-1][4]
        assert are_legal(episode.action, episode.observation[:-1, 3:], [CHOICES]).all()
        assert episode.substituted is not None
        assert episode.substituted.tolist() == [(seed, step[0]) in game.replaced for step in expected]


def log_probability(learner: Learner, features: np.ndarray, action: np.ndarray) -> np.ndarray:
    """`[...]` of the policy, for `features[..., F]` and `action[..., 1]`."""
    assert isinstance(learner, PPO)
    inputs = torch.from_numpy(features).flatten(0, -2)
    with torch.no_grad():
        distribution = learner.head.parameters(learner.policy(inputs), inputs)
        taken = torch.from_numpy(action.astype(np.int64)).flatten(0, -2)
        found: np.ndarray = learner.head.log_probability(distribution, taken).view(features.shape[:-1]).numpy()
    return found


def test_what_a_learner_notes_belongs_to_its_own_step() -> None:
    game = Game({"kind": "ppo", "hidden": [8]}, world_model={"kind": "ensemble", "hidden": [8], "members": 2, "imagined_ratio": 0})
    for _ in range(60):
        game.tick()
    assert len(game.episodes) > 40
    for agent, episode in game.episodes:
        components = game.components[agent]
        features = components.features.encode(episode.histories(2)[:-1])
        own = log_probability(components[LEARNER], features, episode.action)
        np.testing.assert_allclose(episode.extras["log_probability"], own, atol=1e-5)


@pytest.mark.parametrize("late", [0.0, 0.3])
def test_rollouts_hold_each_step_once_and_no_tick_of_waiting(late: float) -> None:
    game = Game({"kind": "ppo", "hidden": [8], "steps": STEPS}, late)
    scale = game.environment.layout("agent-0").fields[0]
    for _ in range(200):
        game.tick()
    found: dict[str, list[tuple[int, Step]]] = {agent: [] for agent in AGENTS}
    for agent, rollout in game.rollouts:
        assert rollout.features.shape[0] == rollout.reward.shape[0] + 1 <= STEPS + 1
        counts = rollout.counts > 0
        raw = np.round((rollout.features[..., :3] + 1) / 2 * scale.high).astype(int)
        for t, copy in np.argwhere(counts):
            seed, after = int(raw[t, copy, 2]), raw[t + 1, copy]
            assert after[2] == seed, "what follows is of the same episode"
            step = (int(raw[t, copy, 0]), int(rollout.action[t, copy, 0]), float(rollout.reward[t, copy]), int(after[0]))
            found[agent].append((seed, (*step, bool(rollout.terminated[t, copy]))))
        own = log_probability(game.components[agent][LEARNER], rollout.features[:-1], rollout.action)
        np.testing.assert_allclose(own[counts], rollout.extras["log_probability"][counts], atol=1e-5)
        assert np.isfinite(own).all()
    for agent in AGENTS:
        # The newest episodes are not all in a rollout yet.
        seeds = [int(episode.observation[0, 2]) for owner, episode in game.episodes if owner == agent][: -3 * COPIES]
        expected = [
            (seed, step) for seed in seeds for step in played(seed, game.moves[seed])[NAMES[agent]] if (seed, step[0]) not in game.replaced
        ]
        mine = [entry for entry in found[agent] if entry[0] in set(seeds)]
        assert sorted(mine) == sorted(expected) and len(expected) > 100


@pytest.mark.parametrize("kind", ["ppo", "impala"])
def test_rollout_learners_learn_from_turns(kind: str) -> None:
    from agent_node.session.transition_batches import rollout_batch

    game = Game({"kind": kind, "hidden": [8], "steps": STEPS} | ({"recurrent": {"cell": "lstm"}} if kind == "impala" else {}))
    learnt = 0
    for _ in range(60):
        game.tick()
        for agent, rollout in game.rollouts:
            components = game.components[agent]
            batch: Batch = rollout_batch(rollout, components.features, components.encodings)
            metrics = components[LEARNER].learn(batch)
            assert metrics and all(np.isfinite(value) for value in metrics.values())
            learnt += 1
        game.rollouts.clear()
    assert learnt >= 15
