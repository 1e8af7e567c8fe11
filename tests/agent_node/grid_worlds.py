"""Grids made by hand: observations of walls and an agent, transitions, rollouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch, PolicySpec
from agent_node.session.observation_features import Features
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.grid_space import AGENT, CHANNELS, DOOR, EMPTY, NOTHING, WALL
from protocols.spaces.layout import GridInfo, Layout

WIDTH, HEIGHT, LONGEST = 5, 4, 100
MEMBER, FIRST = int(Flag.MEMBER), int(Flag.MEMBER | Flag.FIRST)
DONE = int(Flag.MEMBER | Flag.TERMINATED | Flag.OVER)
KEY, BALL = 5, 6


def layout(width: int = WIDTH, height: int = HEIGHT, longest: int = LONGEST, partial: int = 0) -> Layout:
    cells = width * height * CHANNELS + len(NOTHING) if width else 0
    before = partial * partial * CHANNELS + len(NOTHING) if partial else 0
    grid = GridInfo(width=width, height=height, partial=partial, longest=longest)
    return Layout(shape=[before + cells], dtype="u1", actions=[7], grid=grid)


def policy_spec(goal: int = 0, **where: Any) -> PolicySpec:
    return Features(layout(**where), 1).policy_spec(goal)


def grid(agent: tuple[int, int] = (1, 1), direction: int = 0, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """`[W, H, 3]`: walls around empty cells, and the agent."""
    cells = np.zeros((width, height, CHANNELS), np.uint8)
    cells[...] = (EMPTY, 0, 0)
    for side in (cells[0], cells[-1], cells[:, 0], cells[:, -1]):
        side[...] = (WALL, 5, 0)
    cells[agent] = (AGENT, 0, direction)
    return cells


def door(state: int) -> tuple[int, int, int]:
    """Open (0), closed (1) or locked (2)."""
    return (DOOR, 3, state)


def observation(cells: NDArray[np.uint8], carried: tuple[int, int] = NOTHING) -> NDArray[np.uint8]:
    """`[D]`."""
    return np.concatenate([cells.reshape(-1), np.array(carried, np.uint8)])


def number(x: int, y: int, height: int = HEIGHT) -> int:
    """Of a goal."""
    return x * height + y


def random_observations(n: int, seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """`[n, D]` of any codes."""
    random = np.random.default_rng(seed)
    cells = np.stack([random.integers(0, most, (n, width * height)) for most in (10, 6, 4)], axis=2)
    carried = np.stack([random.integers(0, most, n) for most in (10, 6)], axis=1)
    return np.concatenate([cells.reshape(n, -1), carried], axis=1).astype(np.uint8)


def features(raw: NDArray[np.uint8], where: Layout | None = None) -> NDArray[np.float32]:
    """Of `[n, D]`."""
    return Features(where or layout(), 1).encode(raw[:, None])


def rollout(steps: int, copies: int, goal: int = 0, seed: int = 0) -> Batch:
    """Random steps of one endless episode, chosen by a uniform policy."""
    generator = torch.Generator().manual_seed(seed)
    observed = torch.from_numpy(features(random_observations((steps + 1) * copies, seed))).view(steps + 1, copies, -1)
    goals = torch.zeros(steps + 1, copies, goal)
    if goal:
        goals.scatter_(2, torch.randint(goal, (steps + 1, copies, 1), generator=generator), 1.0)
    return Batch(
        observation=observed[:-1],
        goal=goals[:-1],
        action=torch.randint(7, (steps, copies, 1), generator=generator),
        reward=torch.rand(steps, copies, generator=generator),
        next_observation=observed[1:],
        terminated=torch.zeros(steps, copies),
        weight=torch.ones(steps, copies),
        imagined=torch.zeros(steps, copies),
        first=torch.zeros(steps, copies),
        next_goal=goals[1:],
        extras={"log_probability": torch.full((steps, copies), -np.log(7.0), dtype=torch.float32)},
    )
