"""What does an update of double DQN or PPO cost with our Adam on one flat vector, and with torch.optim.Adam on the same vector?

    python benchmarks/optimisers.py [--quick]

One process, one thread. In each turn every optimiser makes the same number of updates, in an order that changes from turn to turn; the
results are CPU times of this process, and ratios are taken within a turn, so that other processes of the machine change them little. A
gradient update is one `learn` of double DQN (batches of 128), and one minibatch of 128 of PPO. Rows `step` are the optimiser alone,
gradient clipping and clearing included, as both learners do them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from measuring import machine, median, table

from agent_node.contracts import Batch, PolicySpec
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.library.optimisers import Adam
from agent_node.learners.ppo import PPO
from agent_node.learners.settings import DoubleDQNSettings, PPOSettings

SPEC = PolicySpec((18,), 0, (5,))
"""as simple_spread with three agents"""
OWN = "own"


class TorchAdam(Adam):
    """`torch.optim.Adam` on the same flat vector, clipped as ours; `variant`: its keyword argument that selects the implementation."""

    def __init__(self, own: Adam, variant: str) -> None:
        super().__init__(own.vector, own.gradient, own.rate, own.norm)
        self.parameter = torch.nn.Parameter(own.vector)
        self.parameter.data = own.vector
        self.parameter.grad = own.gradient
        self.optimiser = torch.optim.Adam([self.parameter], lr=own.rate, **{variant: True})

    def step(self, share: float = 1.0) -> None:
        """One step at `share` of the learning rate. The gradient is zero afterwards."""
        with torch.no_grad():
            self._clip()
        self.optimiser.param_groups[0]["lr"] = share * self.rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=False)


def with_optimiser(learner: DoubleDQN | PPO, variant: str) -> DoubleDQN | PPO:
    """The learner, its optimisers replaced by `variant` of torch's, unless that is `own`."""
    if variant != OWN:
        learner.optimisers = {name: TorchAdam(adam, variant) for name, adam in learner.optimisers.items()}  # type: ignore[arg-type]
        if isinstance(learner, DoubleDQN):
            learner.adam = learner.optimisers["adam"]  # type: ignore[assignment]
    return learner


def batch(*shape: int) -> Batch:
    """Random transitions `[*shape]`."""
    generator = torch.Generator().manual_seed(0)
    return Batch(
        observation=torch.randn(*shape, 18, generator=generator),
        goal=torch.zeros(*shape, 0),
        action=torch.randint(0, 5, (*shape, 1), generator=generator),
        reward=torch.rand(shape, generator=generator),
        next_observation=torch.randn(*shape, 18, generator=generator),
        terminated=torch.zeros(shape),
        weight=torch.ones(shape),
        imagined=torch.zeros(shape),
        first=torch.zeros(shape),
        extras={"log_probability": torch.full(shape, -np.log(5.0), dtype=torch.float32)},
    )


def subjects(variant: str) -> dict[str, tuple[Callable[[], object], int]]:
    """By name: what is timed, and the number of gradient updates in it."""
    dqn = with_optimiser(DoubleDQN(DoubleDQNSettings(), SPEC, 16, 0), variant)
    ppo = with_optimiser(PPO(PPOSettings(epochs=1), SPEC, 16, 0), variant)
    replay, rollout = batch(128), batch(128, 16)
    return {
        "double_dqn, update": (lambda: dqn.learn(replay), 1),
        "double_dqn, step": (dqn.optimisers["adam"].step, 1),
        "ppo, update": (lambda: ppo.learn(rollout), 16),
        "ppo, step": (lambda: [ppo.optimisers[name].step() for name in ("policy_adam", "value_adam")], 1),
    }


def main() -> None:
    """Take turns, print microseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    arguments = parser.parse_args()
    turns, updates = (3, 64) if arguments.quick else (9, 320)
    torch.set_num_threads(1)
    variants = [OWN, "fused", "foreach"]
    made = {variant: subjects(variant) for variant in variants}
    spent: dict[tuple[str, str], list[float]] = {(name, variant): [] for variant in variants for name in made[variant]}
    for turn in range(turns + 1):
        for name in made[OWN]:
            for variant in variants[turn % 3 :] + variants[: turn % 3]:
                call, each = made[variant][name]
                start = time.process_time()
                for _ in range(updates // each):
                    call()
                if turn:  # the first one warms up
                    spent[name, variant].append(1e6 * (time.process_time() - start) / (updates // each * each))
    rows = []
    for name in made[OWN]:
        for variant in variants[1:]:
            ours, theirs = spent[name, OWN], spent[name, variant]
            ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
            rows.append([name, variant, f"{statistics.median(ours):.0f}", f"{statistics.median(theirs):.0f}", median(ratios)])
    print(f"{machine()}, torch {torch.__version__}\n{turns} turns of {updates} updates\n")
    print(table(["", "torch.optim.Adam", "own, us", "torch, us", "torch / own"], rows))


if __name__ == "__main__":
    main()
