"""Learner `encoder_q`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, PolicySpec, State, with_prefix
from swarm_extras.components import EncoderQSettings


class EncoderQ(Learner):
    """Q-learning on the output of an encoder: Q(s, g, a) = w_a . phi(s, g), target r + gamma (1 - d) max_a' Q(s', g, a')."""

    def __init__(self, settings: EncoderQSettings, policy_spec: PolicySpec, copies: int, seed: int, initial: int) -> None:
        self.settings = settings
        inputs = int(np.prod(policy_spec.observation)) + policy_spec.goal
        self.encoder = nn.Sequential(nn.Linear(inputs, settings.width), nn.ReLU())
        self.head = nn.Linear(settings.width, policy_spec.actions[0])
        parameters = [*self.encoder.parameters(), *self.head.parameters()]
        generator = torch.Generator().manual_seed(initial)
        with torch.no_grad():
            for parameter in parameters:
                parameter.uniform_(-0.1, 0.1, generator=generator)
        self.optimiser = torch.optim.Adam(parameters, settings.learning_rate)
        self.random = np.random.default_rng(seed)

    def _q(self, observation: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        q: torch.Tensor = self.head(self.encoder(torch.cat([observation.flatten(1), goal], 1)))
        return q

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Greedy actions; exploring, uniform ones with probability `exploration`."""
        with torch.no_grad():
            q = self._q(torch.as_tensor(observations, dtype=torch.float32), torch.as_tensor(goals, dtype=torch.float32))
        actions = q.argmax(1).numpy().astype(np.int32)
        if explore:
            chosen = self.random.random(len(actions)) < self.settings.exploration
            actions[chosen] = self.random.integers(q.shape[1], size=int(chosen.sum()))
        return PolicyOutput(actions[:, None])

    def learn(self, batch: Batch) -> Metrics:
        """One gradient update; metrics `loss` and `value`."""
        with torch.no_grad():
            following = self._q(batch.next_observation, batch.goal).max(1).values
            target = batch.reward + self.settings.discount * (1 - batch.terminated) * following
        q = self._q(batch.observation, batch.goal).gather(1, batch.action)[:, 0]
        loss = (batch.weight * (q - target) ** 2).mean()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return {"loss": float(loss.detach()), "value": float(q.detach().mean())}

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """Detached views, which averaging changes in place."""
        groups = {"critic": self.head, "encoder": self.encoder}
        return {name: [parameter.detach() for parameter in network.parameters()] for name, network in groups.items()}

    def state_dict(self) -> State:
        """Networks, and Adam's moments as `adam.PARAMETER.NAME`."""
        networks = {f"{name}.{key}": value for name in ("encoder", "head") for key, value in getattr(self, name).state_dict().items()}
        moments = self.optimiser.state_dict()["state"]
        return networks | {f"adam.{i}.{key}": value for i, state in moments.items() for key, value in state.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` where shapes differ."""
        try:
            self.encoder.load_state_dict(with_prefix("encoder.", state))
            self.head.load_state_dict(with_prefix("head.", state))
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        moments: dict[int, dict[str, Any]] = {}
        for name, value in with_prefix("adam.", state).items():
            number, _, key = name.partition(".")
            moments.setdefault(int(number), {})[key] = value.clone()
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
