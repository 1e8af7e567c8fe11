"""What is a trained agent worth against an opponent that moves at random? Plays games of a run of two agents.

    python benchmarks/random_opponent.py tictactoe-quiet-fox-1 --games 1000

Each agent of the run plays from its newest checkpoint, greedily, and in its own place; the other one's moves are uniform among the legal
ones. For comparison the last row of each agent has a random player in its place too. Won, drawn, lost: its return is above, at, below 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, table
from numpy.typing import NDArray

from orchestrator.results.playback.checkpoint_episodes import CheckpointPlayback
from orchestrator.results.playback.checkpoint_sources import find
from protocols.spaces.action_masks import draw_legal

Array = NDArray[Any]


class RandomPlayer:
    """Uniform legal actions."""

    goal = None

    def __init__(self, factors: list[int], seed: int) -> None:
        self.facts: dict[str, int] = {}
        self._factors, self._random = factors, np.random.default_rng(seed)

    def act(self, observation: Array, reward: Array, flags: Array, episode: Array, achieved: Array | None, goal: Array | None) -> Array:
        """`[K, A]`, from the mask at the end of the observation."""
        return draw_legal(observation[:, -sum(self._factors) :], self._factors, self._random)


def returns(run: str, runs_dir: Path, agent: str, trained: bool, games: int, seed: int) -> NDArray[np.float64]:
    """Returns `[games]` of the agent."""
    playback = CheckpointPlayback(find(runs_dir, run, agent), greedy=True, seed=seed, pictures=False)
    for place, name in enumerate(playback.players):
        layout = playback.layout(name)
        if not layout.mask:
            raise SystemExit(f"{run}: the actions of {name} are not masked")
        if name != agent or not trained:
            playback.players[name] = RandomPlayer(layout.actions, seed + place)
    return np.array([played.reward for played in playback.play(games)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of two agents, or its directory")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    names = find(given.runs_dir, given.run, None).configuration.agent_names()
    rows = []
    for agent in names:
        for trained in (True, False):
            found = returns(given.run, given.runs_dir, agent, trained, given.games, given.seed)
            counts = [int(np.count_nonzero(np.sign(found) == sign)) for sign in (1, 0, -1)]
            rows.append([agent, "trained" if trained else "random", *map(str, counts)])
    print(machine())
    print(table(["agent", "plays", "won", "drawn", "lost"], rows))


if __name__ == "__main__":
    main()
