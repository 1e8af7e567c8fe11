"""The lifecycle of everything that an agent is made of: learners, world models, memories, goal sources, intrinsic rewards, exchanges.

An `agent_node.session.agent_session.AgentSession` drives its components in this order:

1. Construction, by the constructor of the room (`agent_node.session.agent_components`): settings, shapes and seeds.
2. `load_state_dict`, where a checkpoint exists. Exchanges restore theirs after 3, since their state refers to the restored components.
3. `joined`: the session, the other components by role, and the conversations with peers are available.
4. Each tick: `episode_ended` for each episode that ended, `observed`, the learning of the tick, `tick`.
5. `settle` and `state_dict` at a checkpoint.

Within a step, components are called in the order of `agent_node.session.roles.ORDER`. Every method has a default that does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agent_node.contracts.training_data import Array, Metrics

if TYPE_CHECKING:
    from agent_node.memory.episode import Episode
    from agent_node.session.session_context import SessionContext

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class ObservedTick:
    """What an agent observed in one tick of its K environment copies, after its actions were sent."""

    features: Array
    """`[K, F]` what the policy sees"""
    actions: Array
    """`[K, A]` the agent's newest actions"""
    reward: Array
    """`[K]` of the step that led here"""
    flags: Array
    """`[K]` bits of `Flag`"""
    episode: Array
    """`[K]` numbers of the episodes"""
    now: float
    """seconds of the agent's clock"""


class Component:
    """One component of an agent. Its attribute `settings`, where it has one, is an instance of its registered settings class."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Constants that the settings class declares, for example "discrete", "recurrent", "additive_statistics"."""
        declared: tuple[str, ...] = getattr(getattr(self, "settings", None), "capabilities", ())
        return declared

    # --- lifecycle ----------------------------------------------------------------------------------------------------------------

    def joined(self, context: SessionContext) -> None:
        """The agent has joined an environment. Start conversations with peers here (`SessionContext.converse`)."""

    def episode_ended(self, episode: Episode) -> None:
        """An own episode ended, an evaluation (`episode.evaluation`) or a training episode."""

    def observed(self, tick: ObservedTick) -> None:
        """A tick was observed, its ended episodes were handled, and the learning of the tick follows."""

    def tick(self, now: float) -> None:
        """Process the events of the component's conversations. `now`: seconds of the agent's clock."""

    @property
    def pauses_learning(self) -> bool:
        """Whether the agent must not learn at this tick."""
        return False

    def settle(self, now: float) -> None:
        """All agents write a checkpoint at this tick: finish or cancel open exchanges, so that nothing is in flight. `now`: seconds of
        the agent's clock."""

    # --- outputs ------------------------------------------------------------------------------------------------------------------

    def metrics(self) -> Metrics:
        """Metrics by name, accumulated since the last call."""
        return {}

    def shared_arrays(self) -> dict[str, Array]:
        """Arrays that the run server combines with those of the other agents."""
        return {}

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """Live tensors by the names of the groups that `exchange.consensus.groups` may list, each in a fixed order."""
        return {}

    def averaged(self) -> None:
        """Averaging has changed live tensors of `parameter_groups` in place: recompute what was derived from them."""

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """Everything that a restart needs: flat names to tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned; `ValueError` with the name of what does not fit."""


def tensors(arrays: Mapping[str, Array]) -> State:
    """NumPy arrays as tensors with the same names; memory is shared where the dtype and layout allow it."""
    return {name: torch.from_numpy(np.require(array, requirements="C")) for name, array in arrays.items()}


def arrays(state: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    """Tensors as NumPy arrays with the same names, which share their memory."""
    return {name: tensor.numpy() for name, tensor in state.items()}


def with_prefix(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries whose names begin with `prefix`, under their names without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
