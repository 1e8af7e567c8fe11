"""Sticky actions, skipped frames, the maximum over frames: which frames a step shows, and the same from SuperSuit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from env_server.adapters.frame_skip import FrameSkip
from env_server.adapters.parallel_adapter import ParallelCopies
from env_server.adapters.parallel_conversions import parallel_from_aec
from env_server.environments.environment_factory import EnvironmentProblem
from env_server.environments.episode_schedule import episode_generator
from env_server.settings import ImageSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.seeds import Stream
from tests.env_server.adapters.turn_environments import Knockout

AGENTS = ["agent-0", "agent-1"]


class Counter(ParallelEnv):  # type: ignore[misc]
    """Every pixel is the number of the frame, and so is the reward; `noise`: pixels are random. Agent b dies at frame `dies`, or enters
    at frame `enters`."""

    metadata = {"name": "counter", "is_parallelizable": True}
    render_mode = None

    def __init__(self, length: int = 1000, noise: bool = False, dies: int = 0, enters: int = 0) -> None:
        self.possible_agents = ["a", "b"]
        self.length, self.noise, self.dies, self.enters = length, noise, dies, enters
        self.executed: list[dict[str, int]] = []

    def observation_space(self, agent: str) -> spaces.Box:
        return spaces.Box(0, 255, (12, 8, 3), np.uint8)

    def action_space(self, agent: str) -> spaces.Discrete:
        return spaces.Discrete(1000)

    def _seen(self, agents: list[str]) -> dict[str, NDArray[np.uint8]]:
        if self.noise:
            return {agent: self.np_random.integers(0, 256, (12, 8, 3), np.uint8) for agent in agents}
        return {agent: np.full((12, 8, 3), self.at % 256, np.uint8) for agent in agents}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.np_random, _ = seeding.np_random(seed)
        self.at, self.executed = 0, []
        self.agents = ["a"] if self.enters else ["a", "b"]
        return self._seen(self.agents), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        assert set(actions) >= set(self.agents)
        self.executed.append(dict(actions))
        self.at += 1
        agents = [*self.agents, "b"] if self.at == self.enters else self.agents
        seen, over, dead = self._seen(agents), self.at >= self.length, self.at == self.dies
        self.agents = [] if over else [agent for agent in agents if not (dead and agent == "b")]
        ended = {agent: dead and agent == "b" for agent in agents}
        return seen, dict.fromkeys(agents, float(self.at)), ended, dict.fromkeys(agents, over), {agent: {} for agent in agents}


class Masked(Counter):
    """The same with action masks."""

    def observation_space(self, agent: str) -> Any:
        mask = spaces.Box(0, 1, (1000,), np.int8)
        return spaces.Dict({"observation": super().observation_space(agent), "action_mask": mask})


def copies(environment: Counter | None = None, **settings: Any) -> ParallelCopies:
    made = environment or Counter()
    return ParallelCopies(lambda: made, AGENTS, 1, images=ImageSettings(grayscale=True, **settings))


def frames(found: ParallelCopies, steps: int, agent: str = "agent-0") -> list[list[int]]:
    """The numbers of the frames that the first observation and those of `steps` steps show."""
    ticks = [found.reset(seed=0)] + [found.step({}) for _ in range(steps)]
    return [tick.agents[agent].observation[0, 3, 3].tolist() for tick in ticks]


def test_skipped_frames_are_not_stacked() -> None:
    found = frames(copies(frame_skip=4, frame_stack=4), 5)
    assert found == [[0, 0, 0, 0], [0, 0, 0, 4], [0, 0, 4, 8], [0, 4, 8, 12], [4, 8, 12, 16], [8, 12, 16, 20]]


def test_stacked_frames_are_skipped() -> None:
    found = frames(copies(frame_skip=4, frame_stack=4, frame_order="stack_skip"), 5)
    assert found == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20]]
    assert frames(copies(frame_skip=2, frame_stack=3, frame_order="stack_skip"), 2) == [[0, 0, 0], [0, 1, 2], [2, 3, 4]]
    assert frames(copies(frame_skip=5, frame_stack=2, frame_order="stack_skip"), 2) == [[0, 0], [4, 5], [9, 10]]


def test_the_greatest_values_of_the_newest_frames_are_observed() -> None:
    environment = Counter(noise=True)
    found = FrameSkip(environment, ImageSettings(frame_skip=3, frame_max=2))
    first, _ = found.reset(seed=5)
    alone = Counter(noise=True)
    raw = [alone.reset(seed=5)[0]] + [alone.step({"a": 0, "b": 0})[0] for _ in range(6)]
    assert (first["a"] == raw[0]["a"]).all(), "nothing of an episode before"
    for last in (3, 6):
        seen = found.step({"a": 0, "b": 0})[0]
        for agent in "ab":
            assert (seen[agent] == np.maximum(raw[last - 1][agent], raw[last][agent])).all()
    assert (found.reset(seed=5)[0]["a"] == raw[0]["a"]).all()


def test_rewards_are_summed_and_a_step_ends_with_the_episode() -> None:
    found = copies(Counter(length=10), frame_skip=4)
    found.reset(seed=0)
    ticks = [found.step({}).agents["agent-0"] for _ in range(4)]
    assert [float(tick.reward[0]) for tick in ticks] == [1 + 2 + 3 + 4, 5 + 6 + 7 + 8, 9 + 10, 0]
    assert ticks[2].flags[0] & Flag.TRUNCATED and ticks[3].flags[0] & Flag.FIRST
    (record,) = found.finished()
    assert record.rewards == (55.0, 55.0) and record.lengths == (3, 3)


def test_an_agent_that_dies_between_two_decisions_keeps_its_rewards() -> None:
    found = copies(Counter(dies=6), frame_skip=4, frame_stack=2, frame_order="stack_skip")
    found.reset(seed=0)
    ticks = [found.step({}).agents["agent-1"] for _ in range(3)]
    assert [float(tick.reward[0]) for tick in ticks] == [10, 5 + 6, 0]
    assert ticks[1].flags[0] & Flag.TERMINATED and ticks[2].flags[0] & Flag.PARKED
    assert ticks[1].observation[0, 0, 0].tolist() == [5, 6]


def test_a_step_ends_where_an_agent_enters() -> None:
    found = copies(Counter(enters=2), frame_skip=4, frame_stack=2)
    found.reset(seed=0)
    ticks = [found.step({}) for _ in range(2)]
    assert ticks[0].agents["agent-1"].flags[0] & Flag.FIRST
    assert ticks[0].agents["agent-1"].observation[0, 0, 0].tolist() == [2, 2]
    assert [float(tick.agents["agent-0"].reward[0]) for tick in ticks] == [1 + 2, 3 + 4 + 5 + 6]


def test_the_limit_of_episodes_is_in_steps() -> None:
    environment = Counter(length=10)
    environment.max_cycles = 10
    assert copies(environment, frame_skip=4).episode_limit == 3


def test_actions_are_repeated_with_the_given_probability() -> None:
    environment = Counter(length=10_000)
    found = FrameSkip(environment, ImageSettings(sticky_actions=0.25))
    found.reset(seed=1)
    for action in range(10_000):
        found.step({"a": action % 1000, "b": action % 1000})
    executed = {agent: np.array([one[agent] for one in environment.executed]) for agent in "ab"}
    chosen = np.arange(10_000) % 1000
    for actions in executed.values():
        repeated = actions[1:] != chosen[1:]
        assert (actions[1:][repeated] == actions[:-1][repeated]).all() and actions[0] == 0
        assert repeated.mean() == pytest.approx(0.25, abs=0.01)
    both = np.mean((executed["a"] != chosen) & (executed["b"] != chosen))
    assert both == pytest.approx(0.0625, abs=0.01), "each agent for itself"


def test_repeated_actions_are_those_of_frames_and_derive_from_the_seed() -> None:
    def executed(seed: int, sticky: float = 0.25) -> list[dict[str, int]]:
        environment = Counter()
        found = FrameSkip(environment, ImageSettings(frame_skip=4, sticky_actions=sticky))
        found.reset(seed=seed)
        for action in range(20):
            found.step({"a": action, "b": action})
        return environment.executed

    assert len(executed(3)) == 80 and executed(3) == executed(3) and executed(3) != executed(4)
    assert executed(3, sticky=0.0) == [{"a": i // 4, "b": i // 4} for i in range(80)]
    late = [one["a"] for one in executed(3)[4:8]]
    assert late == sorted(late), "an action that has begun goes on"


def test_copies_and_episodes_have_their_own_draws() -> None:
    made: list[Counter] = []

    def make() -> Counter:
        made.append(Counter(length=50))
        return made[-1]

    found = ParallelCopies(make, AGENTS, 2, images=ImageSettings(sticky_actions=0.5))
    chosen = np.arange(200, dtype=np.int32)

    def play() -> list[list[dict[str, int]]]:
        found.reset(seed=9)
        for step in range(50):
            found.step({agent: np.full((2, 1), chosen[step], np.int32) for agent in AGENTS})
        return [list(one.executed) for one in made]

    first = play()
    assert len(first[0]) == 50 and first[0] != first[1] and play() == first


def test_actions_of_turns_and_masked_ones_are_not_repeated() -> None:
    names = [*AGENTS, "agent-2"]
    with pytest.raises(EnvironmentProblem, match=r"environment\.images\.frame_skip: the agents act in turns.*; write 1"):
        ParallelCopies(lambda: parallel_from_aec(Knockout("none")), names, 1, images=ImageSettings(frame_skip=4))
    with pytest.raises(EnvironmentProblem, match=r"environment\.images\.sticky_actions: the actions have a mask.*; write 0"):
        ParallelCopies(Masked, AGENTS, 1, images=ImageSettings(sticky_actions=0.25))


def first_seed(seed: int) -> int:
    """What `reset(seed)` gives the environment for its first episode."""
    return int(episode_generator(seed, 0, Stream.ENVIRONMENT).integers(2**31))


def supersuit(environment: Any, stack: int = 4, skip: int = 4, order: str = "skip_stack") -> Any:
    """The same transforms of SuperSuit."""
    wrappers = pytest.importorskip("supersuit", reason="the oracle SuperSuit is not installed (extra: test, Python below 3.13)")
    environment = wrappers.max_observation_v0(environment, 2)
    if order == "stack_skip":
        return wrappers.frame_skip_v0(wrappers.frame_stack_v1(environment, stack), skip)
    return wrappers.frame_stack_v1(wrappers.frame_skip_v0(environment, skip), stack)


@pytest.mark.parametrize("order", ["skip_stack", "stack_skip"])
def test_frames_are_those_of_supersuit(order: str) -> None:
    settings = ImageSettings(size=None, frame_skip=4, frame_stack=4, frame_max=2, frame_order=order)
    ours = ParallelCopies(lambda: Counter(noise=True, dies=31), AGENTS, 1, seed=2, images=settings)
    tick = ours.reset()
    theirs = supersuit(Counter(noise=True, dies=31), order=order)
    theirs.reset(seed=first_seed(2))
    for step in range(12):
        seen, rewards, *_ = theirs.step(dict.fromkeys(theirs.agents, 0))
        tick = ours.step({})
        for agent, name in zip(AGENTS, "ab", strict=True):
            if name not in rewards:
                assert tick.agents[agent].flags[0] & Flag.PARKED
                continue
            assert float(tick.agents[agent].reward[0]) == rewards[name]
            if step >= 4:  # before, SuperSuit shows zeros in place of the first frame
                assert (tick.agents[agent].observation[0] == seen[name]).all(), (step, agent)


def test_grayscale_is_that_of_supersuit() -> None:
    wrappers = pytest.importorskip("supersuit", reason="the oracle SuperSuit is not installed (extra: test, Python below 3.13)")
    theirs = wrappers.color_reduction_v0(Counter(noise=True), mode="full")
    ours = ParallelCopies(lambda: Counter(noise=True), AGENTS, 1, images=ImageSettings(size=None, grayscale=True))
    tick = ours.reset(seed=0)
    seen, _ = theirs.reset(seed=first_seed(0))
    found = tick.agents["agent-0"].observation[0, :, :, 0].astype(int)
    assert np.abs(found - seen["a"].astype(int)).max() <= 1, "SuperSuit rounds down"
