"""One run of another library, or of a plain implementation, on a standard task: the peers of `benchmarks/standard.py`.

    python benchmarks/standard_peers.py sb3 ppo CartPole-v1 --steps 20000 --seed 0 --directory runs/standard/peer

Stable-Baselines3 with the settings of RL Zoo for the task (`SETTINGS`; read from its files `hyperparams/*.yml`, version 2.6), or with its
own defaults (`sb3-defaults`). `ippo`: independent PPO of simple_spread's agents as in CleanRL's `ppo.py` (orthogonal weights, tanh,
64 x 64, advantages standardised in each minibatch, decaying learning rate), with CleanRL's settings (`cleanrl`) or the defaults of this
system (`ours`), one network pair for each agent, in one process; the world is
`SpreadWorld`, which equals mpe2 step by step (`tests/env_server/environments/particles`).

Every twentieth of the run, and after it, 20 episodes are evaluated with the likeliest actions. The metrics are written as an environment
server writes them, so that one report reads both. Needs stable-baselines3; each run takes one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import nn

EPISODES = 20
FINAL_EPISODES = 100
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", "CartPole-v1"): {"n_envs": 8, "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20,
                             "learning_rate": "linear 0.001", "clip_range": "linear 0.2"},
    ("dqn", "CartPole-v1"): {"learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 1000, "gamma": 0.99,
                             "target_update_interval": 10, "train_freq": 256, "gradient_steps": 128, "exploration_fraction": 0.16,
                             "exploration_final_eps": 0.04, "policy_kwargs": {"net_arch": [256, 256]}},
    ("ppo", "Acrobot-v1"): {"normalize": True, "n_envs": 16, "n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4},
    ("ppo", "LunarLander-v3"): {"n_envs": 16, "n_steps": 1024, "batch_size": 64, "gae_lambda": 0.98, "gamma": 0.999, "n_epochs": 4,
                                "ent_coef": 0.01},
    ("sac", "Pendulum-v1"): {"learning_rate": 1e-3},
    ("ppo", "MiniGrid-DoorKey-5x5-v0"): {"normalize": True, "n_envs": 8, "n_steps": 128, "batch_size": 64, "gae_lambda": 0.95,
                                         "gamma": 0.99, "n_epochs": 10, "learning_rate": 2.5e-4},
}  # fmt: skip
"""RL Zoo's settings by algorithm and task; `normalize`: observations and rewards by their running moments"""


class Metrics:
    """The files of a run that a report reads."""

    def __init__(self, directory: Path, steps: int) -> None:
        self.directory, self.began = directory, time.monotonic()
        self.file = directory / "nodes" / "env-0" / "metrics.jsonl"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text("")
        (directory / "config.json").write_text(json.dumps({"until": {"steps": steps}}))

    def write(self, step: int, returns: list[float]) -> None:
        """The mean return of an evaluation after so many training steps."""
        row = {"t": time.monotonic() - self.began, "step": step, "name": "eval.own.return", "value": float(np.mean(returns))}
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{step:>9,} steps  {row['value']:.2f}", flush=True)

    def done(self) -> None:
        """Mark the run as finished."""
        (self.directory / "run.json").write_text(json.dumps({"state": "DONE"}))


# --- Stable-Baselines3 ----------------------------------------------------------------------------------------------------------------


def made(task: str) -> Callable[[], gymnasium.Env[Any, Any]]:
    """A function that makes an environment of the task; grids are flattened, with the mission, as RL Zoo does."""

    def make() -> gymnasium.Env[Any, Any]:
        if not task.startswith("MiniGrid"):
            return gymnasium.make(task)
        from minigrid.wrappers import FlatObsWrapper

        return FlatObsWrapper(gymnasium.make(task))

    return make


def _schedule(value: Any) -> Any:
    """`linear X`: from X to 0 over the run."""
    if isinstance(value, str):
        start = float(value.removeprefix("linear "))
        return lambda remaining: remaining * start
    return value


def stable_baselines(algorithm: str, task: str, steps: int, seed: int, metrics: Metrics, defaults: bool) -> None:
    """Train by Stable-Baselines3 in parts of a twentieth, each followed by an evaluation."""
    import stable_baselines3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecNormalize

    settings = {} if defaults else dict(SETTINGS[algorithm, task])
    normalize = settings.pop("normalize", False)
    environment: Any = make_vec_env(made(task), n_envs=settings.pop("n_envs", 1), seed=seed)
    watched: Any = make_vec_env(made(task), n_envs=1, seed=seed + 10_000)
    if normalize:
        environment = VecNormalize(environment, gamma=settings.get("gamma", 0.99))
        watched = VecNormalize(watched, training=False, norm_reward=False)
    model = getattr(stable_baselines3, algorithm.upper())(
        "MlpPolicy", environment, seed=seed, device="cpu", **{name: _schedule(value) for name, value in settings.items()}
    )

    def evaluate(episodes: int) -> None:
        if normalize:
            watched.obs_rms = environment.obs_rms
        returns, _ = evaluate_policy(model, watched, episodes, deterministic=True, return_episode_rewards=True, warn=False)
        metrics.write(model.num_timesteps, [float(value) for value in returns])

    class Evaluations(BaseCallback):
        due = steps // 20

        def _on_step(self) -> bool:
            if self.num_timesteps >= self.due and self.num_timesteps < steps:
                evaluate(EPISODES)
                self.due = (self.num_timesteps // (steps // 20) + 1) * (steps // 20)
            return True

    model.learn(steps, callback=Evaluations())
    evaluate(FINAL_EPISODES)


# --- plain independent PPO ------------------------------------------------------------------------------------------------------------


def layer(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """A linear layer with orthogonal weights and no bias at the start."""
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


def network(inputs: int, outputs: int, gain: float) -> nn.Sequential:
    """Two hidden layers of 64 with tanh."""
    return nn.Sequential(layer(inputs, 64, 2**0.5), nn.Tanh(), layer(64, 64, 2**0.5), nn.Tanh(), layer(64, outputs, gain))


class PlainSettings(NamedTuple):
    """What differs between the rows of the plain PPO. `decay`: whether the learning rate falls to 0; `value_clip`: whether values are
    clipped like ratios; `bootstrap`: whether V of the last observation stands for what follows an episode's limit of time, which
    CleanRL treats as an end."""

    learning_rate: float
    epochs: int
    minibatches: int
    discount: float
    decay: bool
    value_clip: bool
    bootstrap: bool


PLAIN = {
    "cleanrl": PlainSettings(2.5e-4, 4, 4, 0.99, decay=True, value_clip=True, bootstrap=False),
    "ours": PlainSettings(1e-3, 8, 16, 0.96, decay=False, value_clip=False, bootstrap=True),
    "ours-ends": PlainSettings(1e-3, 8, 16, 0.96, decay=False, value_clip=False, bootstrap=False),
}


class PlainPPO:
    """One agent's PPO as in CleanRL's `ppo.py`: lambda 0.95, clip 0.2, entropy 0.01, value loss 0.5, gradient norm 0.5; rollouts of 128
    steps of 16 environments."""

    LAMBDA, CLIP = 0.95, 0.2

    def __init__(self, inputs: int, actions: int, settings: PlainSettings) -> None:
        self.actor, self.critic, self.settings = network(inputs, actions, 0.01), network(inputs, 1, 1.0), settings
        self.parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters, lr=settings.learning_rate, eps=1e-5)

    def learn(
        self, share: float, seen: torch.Tensor, after: torch.Tensor, actions: torch.Tensor, rewards: torch.Tensor, over: torch.Tensor
    ) -> None:
        """From `seen[T, K, F]`, what followed them in the same episode, `after[T, K, F]`, `actions[T, K]`, `rewards[T, K]`; `over[T, K]`:
        the episode ended with that step, by its limit of time."""
        settings = self.settings
        self.optimiser.param_groups[0]["lr"] = settings.learning_rate * (share if settings.decay else 1.0)
        with torch.no_grad():
            values = self.critic(seen).squeeze(-1)
            next_values = self.critic(after).squeeze(-1) * (1.0 if settings.bootstrap else 1 - over)
            before = torch.distributions.Categorical(logits=self.actor(seen)).log_prob(actions)
            advantages, following = torch.zeros_like(rewards), torch.zeros_like(rewards[0])
            for t in reversed(range(len(rewards))):
                error = rewards[t] + settings.discount * next_values[t] - values[t]
                following = error + settings.discount * self.LAMBDA * (1 - over[t]) * following
                advantages[t] = following
        flat = [x.flatten(0, 1) for x in (seen, actions, before, advantages, advantages + values, values)]
        for _ in range(settings.epochs):
            for part in torch.randperm(len(flat[0])).tensor_split(settings.minibatches):
                inputs, taken, old, advantage, target, value_before = (x[part] for x in flat)
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                distribution = torch.distributions.Categorical(logits=self.actor(inputs))
                ratio = (distribution.log_prob(taken) - old).exp()
                policy = -torch.min(ratio * advantage, ratio.clamp(1 - self.CLIP, 1 + self.CLIP) * advantage).mean()
                value = self.critic(inputs).squeeze(-1)
                near = value_before + (value - value_before).clamp(-self.CLIP, self.CLIP) if settings.value_clip else value
                squared = torch.max((value - target).square(), (near - target).square()).mean() / 2
                loss = policy + 0.5 * squared - 0.01 * distribution.entropy().mean()
                self.optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.parameters, 0.5)
                self.optimiser.step()


def independent_ppo(settings: PlainSettings, steps: int, seed: int, metrics: Metrics) -> None:
    """Train simple_spread's three agents, each for itself, and write evaluations of all agents' returns together."""
    from env_server.environments.particles.particle_world import UNIT_FORCES
    from env_server.environments.particles.settings import SpreadOptions
    from env_server.environments.particles.spread_world import SpreadWorld

    agents, rows, length, horizon = 3, 16, 128, 25
    random = np.random.default_rng(seed)

    def begin(count: int, generator: np.random.Generator) -> SpreadWorld:
        world = SpreadWorld(SpreadOptions(), agents, count)
        for copy in range(count):
            world.begin(copy, generator)
        return world

    def seen_in(world: SpreadWorld) -> torch.Tensor:
        return torch.from_numpy(np.stack(world.observe(), axis=1).astype(np.float32))

    def step(world: SpreadWorld, chosen: torch.Tensor) -> torch.Tensor:
        """Rewards `[K, N]` of choices `[K, N]`."""
        forces = UNIT_FORCES[chosen.numpy()].transpose(1, 2, 0).astype(np.float64)
        return torch.from_numpy(world.step(forces).T.astype(np.float32))

    torch.manual_seed(seed)
    width = 6 * agents
    learners = [PlainPPO(width, len(UNIT_FORCES), settings) for _ in range(agents)]

    def evaluate(done: int, episodes: int) -> None:
        world = begin(episodes, np.random.default_rng(10_000_000 + seed))
        total = torch.zeros(episodes)
        for _ in range(horizon):
            state = seen_in(world)
            with torch.no_grad():
                chosen = torch.stack([one.actor(state[:, i]).argmax(-1) for i, one in enumerate(learners)], dim=1)
            total += step(world, chosen).sum(dim=1)
        metrics.write(done, total.tolist())

    world = begin(rows, random)
    age = np.zeros(rows, int)
    state, done, due = seen_in(world), 0, steps // 20
    while done < steps:
        seen, after = (torch.zeros(length, rows, agents, width) for _ in range(2))
        actions = torch.zeros(length, rows, agents, dtype=torch.int64)
        rewards, over = torch.zeros(length, rows, agents), torch.zeros(length, rows)
        for t in range(length):
            seen[t] = state
            with torch.no_grad():
                for i, one in enumerate(learners):
                    actions[t, :, i] = torch.distributions.Categorical(logits=one.actor(seen[t, :, i])).sample()
            rewards[t] = step(world, actions[t])
            after[t] = seen_in(world)
            age += 1
            for copy in np.flatnonzero(age >= horizon):
                over[t, copy] = 1.0
                world.begin(int(copy), random)
                age[copy] = 0
            state = seen_in(world)
        for i, one in enumerate(learners):
            one.learn(1 - done / steps, seen[:, :, i], after[:, :, i], actions[:, :, i], rewards[:, :, i], over)
        done += length * rows
        if done >= due and done < steps:
            evaluate(done, EPISODES)
            due += steps // 20
    evaluate(done, FINAL_EPISODES)


def main() -> None:
    """Make the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=("sb3", "sb3-defaults", "ippo"))
    parser.add_argument("algorithm", help="ppo, dqn, sac; of ippo its settings: " + ", ".join(PLAIN))
    parser.add_argument("task", help="an id of Gymnasium; ippo needs simple_spread")
    parser.add_argument("--steps", type=int, required=True, help="environment steps of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, required=True, help="where the metrics are written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    metrics = Metrics(arguments.directory, arguments.steps)
    if arguments.library == "ippo":
        independent_ppo(PLAIN[arguments.algorithm], arguments.steps, arguments.seed, metrics)
    else:
        defaults = arguments.library == "sb3-defaults"
        stable_baselines(arguments.algorithm, arguments.task, arguments.steps, arguments.seed, metrics, defaults)
    metrics.done()


if __name__ == "__main__":
    main()
