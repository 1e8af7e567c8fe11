"""Learners with centralised critics in one process with one pooled joint replay: the baseline without any exchange over edges.

    python benchmarks/pooled_team.py maddpg --steps 50000
    python benchmarks/pooled_team.py qmix --set learning_rate=5e-4 --snapshot-every 50 --seeds 0 1 2

The learners are those of the agents. Each learns from the same minibatches of the pooled replay; every `--snapshot-every` updates they
load each other's newest snapshots (1: always fresh, as a central learner has them), and every `--average-every` updates the groups
`--groups` are averaged exactly. Prints the mean return of each agent in greedy evaluation episodes; steps are those of all copies together.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from measuring import machine, table
from numpy.typing import NDArray

from agent_node.contracts import Batch, JointSteps, Learner, Team
from agent_node.session.observation_features import Features
from agent_node.settings.builtin_components import register_builtin_components
from env_server.environments.environment_contracts import TickResult, VectorEnvironment
from env_server.environments.registry import create
from env_server.settings import EnvironmentSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.component_registry import component
from protocols.runtime.seeds import Stream, integer

Array = NDArray[Any]


class PooledReplay:
    """Joint steps of all members, in a ring of `capacity`; every member is active in every step."""

    def __init__(self, features: Sequence[Features], capacity: int) -> None:
        def room(width: int, dtype: type) -> Array:
            return np.zeros((capacity, width), dtype)

        members = len(features)
        self.features = features
        self.columns: dict[str, list[Array]] = {
            "observation": [room(one.width, np.float32) for one in features],
            "action": [room(one.action_size, np.int64 if one.discrete else np.float32) for one in features],
            "next_observation": [room(one.width, np.float32) for one in features],
            "reward": [room(members, np.float32)],
            "terminated": [room(members, np.float32)],
        }
        self.capacity, self.size, self.place = capacity, 0, 0

    def add(self, **rows: Sequence[Array]) -> None:
        """Append n steps: for every column its arrays `[n, width]`."""
        number = len(rows["reward"][0])
        places = (self.place + np.arange(number)) % self.capacity
        for name, arrays in rows.items():
            for column, values in zip(self.columns[name], arrays, strict=True):
                column[places] = values
        self.place, self.size = int(places[-1] + 1) % self.capacity, min(self.size + number, self.capacity)

    def sample(self, size: int, random: np.random.Generator) -> JointSteps:
        """`size` uniform steps. Next actions are not kept: they are those of snapshots."""
        rows = random.integers(self.size, size=size)
        drawn = {name: tuple(torch.from_numpy(one[rows]) for one in arrays) for name, arrays in self.columns.items()}
        reward, terminated = drawn["reward"][0], drawn["terminated"][0]
        return JointSteps(
            drawn["observation"], drawn["action"], reward, drawn["next_observation"], tuple(map(torch.zeros_like, drawn["action"])),
            torch.zeros_like(reward), terminated, torch.ones_like(reward),
        )  # fmt: skip


def own_batch(joint: JointSteps, member: int) -> Batch:
    """The batch of one member."""
    rows = len(joint.reward)
    return Batch(
        observation=joint.observation[member],
        goal=torch.zeros(rows, 0),
        action=joint.action[member],
        reward=joint.reward[:, member].clone(),
        next_observation=joint.next_observation[member],
        terminated=joint.terminated[:, member].clone(),
        weight=torch.ones(rows),
        imagined=torch.zeros(rows),
        joint=joint,
    )


class PooledTeam:
    """All learners of a run, the environment and the replay."""

    def __init__(self, given: argparse.Namespace, seed: int) -> None:
        settings_class = component("learner", given.kind).settings
        self.settings = settings_class(**{key: json.loads(value) for key, value in (one.split("=", 1) for one in given.set)})
        self.names = [f"agent-{number}" for number in range(given.agents)]
        environment = {"id": given.environment, "options": json.loads(given.options)}
        self.given, self.copies = given, given.copies
        self.environment = self._made({**environment, "copies": given.copies}, seed)
        self.trial = self._made({**environment, "copies": min(given.episodes, 50)}, seed + 1_000_000)
        self.features = [Features(self.environment.layout(name), 1) for name in self.names]
        specs = tuple(one.policy_spec() for one in self.features)
        implementation = component("learner", given.kind).load()
        self.learners: list[Learner] = []
        for member, name in enumerate(self.names):
            spec = replace(specs[member], team=Team(tuple(self.names), member, specs))
            exploration = integer(seed, name, Stream.EXPLORATION)
            initial = integer(seed, "agents" if given.average_every else name, Stream.INITIAL_PARAMETERS)
            self.learners.append(implementation(self.settings, spec, given.copies, exploration, initial))
        self.replay = PooledReplay(self.features, given.capacity)
        self.random = np.random.default_rng(seed)
        self.credit, self.updates = 0.0, 0

    def _made(self, settings: dict[str, Any], seed: int) -> VectorEnvironment:
        return create(EnvironmentSettings(**settings), self.names, seed=seed)

    def seen(self, result: TickResult, member: int) -> Array:
        """Features `[K, F]`."""
        features = self.features[member]
        return features.encode(features.flatten(result.agents[self.names[member]].observation)[:, None])

    def act(self, seen: Sequence[Array], first: NDArray[np.bool_], explore: bool) -> dict[str, Array]:
        """Actions of all members."""
        rows = np.arange(len(first)) if explore else None
        nothing = np.zeros((len(first), 0), np.float32)
        return {
            name: learner.act(one, nothing, rows, first, explore).actions
            for name, learner, one in zip(self.names, self.learners, seen, strict=True)
        }

    def train(self, steps: int, seed: int) -> None:
        """Play and learn for `steps` steps of all copies together."""
        members = range(len(self.names))
        result = self.environment.reset(seed)
        seen, done = [self.seen(result, member) for member in members], 0
        while done < steps:
            flags = result.agents[self.names[0]].flags
            actions = self.act(seen, (flags & Flag.FIRST) > 0, True)
            result = self.environment.step(actions)
            following = [self.seen(result, member) for member in members]
            batches = [result.agents[name] for name in self.names]
            played = (batches[0].flags & (Flag.FIRST | Flag.PARKED)) == 0
            if played.any():
                self.replay.add(
                    observation=[one[played] for one in seen],
                    action=[actions[name][played] for name in self.names],
                    next_observation=[one[played] for one in following],
                    reward=[np.stack([one.reward for one in batches], axis=1)[played]],
                    terminated=[np.stack([(one.flags & Flag.TERMINATED) > 0 for one in batches], axis=1)[played]],
                )
                done += int(played.sum())
                self.learn(int(played.sum()))
            seen = following

    def learn(self, steps: int) -> None:
        """The updates that are due after `steps` steps."""
        if self.replay.size < self.settings.learning_starts:
            return
        self.credit += steps * self.settings.replay_ratio
        while self.credit >= 1:
            self.credit -= 1
            joint = self.replay.sample(self.settings.batch_size, self.random)
            if self.updates % self.given.snapshot_every == 0:
                self.exchange()
            for member, learner in enumerate(self.learners):
                learner.learn(own_batch(joint, member))
            self.updates += 1
            if self.given.average_every and self.updates % self.given.average_every == 0:
                self.average()

    def exchange(self) -> None:
        """Every learner loads the others' snapshots."""
        snapshots = [learner.policy_snapshot() for learner in self.learners]
        for member, learner in enumerate(self.learners):
            for peer, snapshot in enumerate(snapshots):
                if peer != member:
                    learner.load_peer_policy(peer, snapshot)

    def average(self) -> None:
        """Exact means of the groups over all learners."""
        for group in self.given.groups:
            for tensors in zip(*(learner.parameter_groups()[group] for learner in self.learners), strict=True):
                mean = torch.stack(tensors).mean(dim=0)
                for tensor in tensors:
                    tensor.copy_(mean)
        for learner in self.learners:
            learner.averaged()

    def evaluate(self, seed: int) -> NDArray[np.float64]:
        """Mean return of each member `[N]` over at least `episodes` greedy episodes."""
        result, returns = self.trial.reset(seed), []
        while len(returns) < self.given.episodes:
            seen = [self.seen(result, member) for member in range(len(self.names))]
            flags = result.agents[self.names[0]].flags
            result = self.trial.step(self.act(seen, (flags & Flag.FIRST) > 0, False))
            returns += [record.rewards for record in self.trial.finished()]
        return np.mean(returns, axis=0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", help="a learner with the capability joint")
    parser.add_argument("--environment", default="particles:simple_spread")
    parser.add_argument("--options", default="{}", help="of the environment, JSON")
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--evaluations", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--capacity", type=int, default=200_000)
    parser.add_argument("--snapshot-every", type=int, default=1)
    parser.add_argument("--average-every", type=int, default=0)
    parser.add_argument("--groups", nargs="+", default=["critic"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="*", default=[], help="settings of the learner, KEY=JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    register_builtin_components()
    print(machine())
    rows = []
    for seed in given.seeds:
        team, started = PooledTeam(given, seed), time.process_time()
        for number in range(1, given.evaluations + 1):
            team.train(given.steps // given.evaluations, seed + number)
            returns = team.evaluate(seed + 1_000_000)
            spent = time.process_time() - started
            rows.append(
                [str(seed), str(number * given.steps // given.evaluations), f"{returns.mean():.2f}", _text(returns), f"{spent:.0f}"]
            )
            print(*rows[-1], sep="  ", flush=True)
    print(table(["seed", "steps", "return per agent", "each", "CPU s"], rows))


def _text(returns: NDArray[np.float64]) -> str:
    return " ".join(f"{one:.1f}" for one in returns)


if __name__ == "__main__":
    main()
