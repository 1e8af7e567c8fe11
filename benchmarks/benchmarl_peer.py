"""One run of BenchMARL on simple_spread: a peer of `benchmarks/standard.py`.

    python benchmarks/benchmarl_peer.py ippo simple_spread --steps 400000 --seed 0 --directory runs/standard/peer

BenchMARL's default settings (`get_from_yaml`) for IPPO or MAPPO with its default networks, actors shared by the agents, discrete actions.
The world is `SpreadWorld` with 60 copies as an environment of TorchRL: equal to mpe2 step by step
(`tests/env_server/environments/particles`), and all copies are stepped together.

Every twentieth of the run, and after it, episodes are evaluated with the likeliest actions, as by `benchmarks/standard_peers.py`. Needs
`benchmarl==1.5.1 torchrl==0.10.1 tensordict==0.10.0`; newer versions of TorchRL have renamed what this BenchMARL calls.
"""

# ruff: noqa: D102 - methods implement the interfaces of BenchMARL and TorchRL

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarl.algorithms import IppoConfig, MappoConfig
from benchmarl.environments.common import TaskClass
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from standard_peers import EPISODES, FINAL_EPISODES, Metrics
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Categorical, Composite, Unbounded
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from env_server.environments.particles.particle_world import UNIT_FORCES
from env_server.environments.particles.settings import SpreadOptions
from env_server.environments.particles.spread_world import SpreadWorld

AGENTS, LENGTH, COPIES = 3, 25, 60
GROUP = "agent"


class SpreadEnv(EnvBase):
    """K copies of simple_spread as one batched environment."""

    def __init__(self, copies: int, seed: int | None) -> None:
        super().__init__(batch_size=torch.Size([copies]))
        self.world = SpreadWorld(SpreadOptions(), AGENTS, copies)
        self.generator = np.random.default_rng(seed)
        self.age = 0
        shape = (copies, AGENTS)
        self.observation_spec = self._grouped("observation", Unbounded((*shape, 6 * AGENTS)))
        self.action_spec = self._grouped("action", Categorical(len(UNIT_FORCES), shape=shape))
        self.reward_spec = self._grouped("reward", Unbounded((*shape, 1)))
        flags = {name: Categorical(2, dtype=torch.bool, shape=(copies, 1)) for name in ("done", "terminated", "truncated")}
        self.done_spec = Composite(flags, shape=(copies,))

    def _grouped(self, name: str, spec: Any) -> Composite:
        return Composite({GROUP: Composite({name: spec}, shape=(*self.batch_size, AGENTS))}, shape=self.batch_size)

    def _observed(self, end: bool) -> dict[str, Any]:
        seen = torch.from_numpy(np.stack(self.world.observe(), axis=1).astype(np.float32))
        done = torch.full((*self.batch_size, 1), end)
        agents = TensorDict({"observation": seen}, batch_size=(*self.batch_size, AGENTS))
        return {GROUP: agents, "done": done, "truncated": done.clone(), "terminated": torch.zeros_like(done)}

    def _reset(self, tensordict: TensorDictBase | None = None, **ignored: Any) -> TensorDictBase:
        for copy in range(self.batch_size[0]):
            self.world.begin(copy, self.generator)
        self.age = 0
        return TensorDict(self._observed(False), batch_size=self.batch_size)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        forces = UNIT_FORCES[tensordict[GROUP, "action"].numpy()].transpose(1, 2, 0).astype(np.float64)
        rewards = torch.from_numpy(self.world.step(forces).T.astype(np.float32)).unsqueeze(-1)
        self.age += 1
        following = TensorDict(self._observed(self.age >= LENGTH), batch_size=self.batch_size)
        following[GROUP, "reward"] = rewards
        return following

    def _set_seed(self, seed: int | None) -> None:
        self.generator = np.random.default_rng(seed)


class Spread(TaskClass):
    """The task as BenchMARL asks for it."""

    def get_env_fun(self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any) -> Callable[[], EnvBase]:
        return lambda: SpreadEnv(num_envs, seed)

    def supports_continuous_actions(self) -> bool:
        return False

    def supports_discrete_actions(self) -> bool:
        return True

    def max_steps(self, env: EnvBase) -> int:
        return LENGTH

    def has_render(self, env: EnvBase) -> bool:
        return False

    def group_map(self, env: EnvBase) -> dict[str, list[str]]:
        return {GROUP: [f"{GROUP}_{number}" for number in range(AGENTS)]}

    def observation_spec(self, env: EnvBase) -> Composite:
        return (
            env.full_observation_spec_unbatched.clone() if hasattr(env, "full_observation_spec_unbatched") else env.observation_spec.clone()
        )

    def action_spec(self, env: EnvBase) -> Composite:
        return env.full_action_spec_unbatched

    def info_spec(self, env: EnvBase) -> Composite | None:
        return None

    def state_spec(self, env: EnvBase) -> Composite | None:
        return None

    def action_mask_spec(self, env: EnvBase) -> Composite | None:
        return None

    @staticmethod
    def env_name() -> str:
        return "particles"


class Evaluations(Callback):
    """Evaluate after each twentieth of the run."""

    def __init__(self, steps: int, seed: int, metrics: Metrics) -> None:
        super().__init__()
        self.steps, self.metrics, self.seed = steps, metrics, seed
        self.due, self.done = steps // 20, 0

    def on_batch_collected(self, batch: TensorDictBase) -> None:
        self.done += batch.numel()

    def on_train_end(self, training_td: TensorDictBase, group: str) -> None:
        if self.due <= self.done < self.steps:
            self.evaluate(EPISODES)
            self.due = (self.done // (self.steps // 20) + 1) * (self.steps // 20)

    def evaluate(self, episodes: int) -> None:
        """The returns of all agents together of new episodes."""
        world = SpreadEnv(episodes, 10_000_000 + self.seed)
        with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
            played = world.rollout(LENGTH, policy=self.experiment.policy)
        returns = played["next", GROUP, "reward"].sum(dim=(1, 2, 3))
        self.metrics.write(self.done, returns.tolist())


def main() -> None:
    """Make the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("algorithm", choices=("ippo", "mappo"))
    parser.add_argument("task", choices=("simple_spread",))
    parser.add_argument("--steps", type=int, required=True, help="environment steps of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, required=True, help="where the metrics are written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    metrics = Metrics(given.directory, given.steps)
    config = ExperimentConfig.get_from_yaml()
    config.max_n_frames, config.max_n_iters, config.loggers = given.steps, None, []
    config.evaluation = config.render = config.create_json = config.prefer_continuous_actions = False
    config.on_policy_n_envs_per_worker, config.save_folder = COPIES, str(given.directory)
    evaluations = Evaluations(given.steps, given.seed, metrics)
    experiment = Experiment(
        task=Spread("simple_spread", {}),
        algorithm_config={"ippo": IppoConfig, "mappo": MappoConfig}[given.algorithm].get_from_yaml(),
        model_config=MlpConfig.get_from_yaml(),
        critic_model_config=MlpConfig.get_from_yaml(),
        seed=given.seed,
        config=config,
        callbacks=[evaluations],
    )
    experiment.run()
    evaluations.evaluate(FINAL_EPISODES)
    metrics.done()


if __name__ == "__main__":
    main()
