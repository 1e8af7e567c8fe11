"""Contracts of an agent's parts. A part is replaced in the YAML; whoever fulfils its contract fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from protocols.grids import Grids
from protocols.messages import Layout

Array = NDArray[Any]
Metrics = dict[str, float]


@dataclass(frozen=True)
class Interface:
    """What a learner or model is built for: the agent's own features, not the raw wire."""

    observation: tuple[int, ...]
    """shape of one observation as the networks see it (history stacked, circular fields as sine and cosine)"""
    goal: int
    """length of a goal encoding, 0 without goals"""
    actions: tuple[int, ...]
    """numbers of choices of each discrete factor; empty for continuous actions"""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    """bounds of continuous actions"""
    hallucinated: int = 0
    """components that a policy may add to its actions for the world model alone, to choose among what the model holds possible"""
    grids: Grids | None = None
    """where grids of cells are among the first components; None where there are none"""


@dataclass
class Choice:
    """Actions for n rows, with what the learner wants to find again beside them in its batch (log-probabilities, values)."""

    actions: Array
    """`[n, A]` int32 (discrete factors) or float32 (continuous)"""
    extras: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """each `[n, ...]`, stored with the transition"""


@dataclass
class Batch:
    """Transitions as torch tensors. Replay learners get `[B, ...]`; rollout learners `[T, B, ...]` in order of time."""

    observation: torch.Tensor
    goal: torch.Tensor
    """multi-hot `[..., goal]` float32, width 0 without goals"""
    action: torch.Tensor
    """`[..., A]` int64 or float32"""
    reward: torch.Tensor
    next_observation: torch.Tensor
    terminated: torch.Tensor
    """1.0 where no value follows; truncated transitions have 0 and bootstrap from `next_observation`"""
    weight: torch.Tensor
    """replay: importance of each sample, mean 1; rollouts: 1 for the agent's own steps in training, 0 for all others"""
    imagined: torch.Tensor
    """1.0 where the transition was imagined by the world model"""
    first: torch.Tensor | None = None
    """rollouts: 1.0 where an episode begins, to reset recurrent state"""
    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    next_goal: torch.Tensor | None = None
    """rollouts: the goal in force at `next_observation`; None where goals last as long as episodes"""

    def to(self, device: torch.device) -> Batch:
        """The same on a device; itself where it is there already."""
        if self.reward.device == device:
            return self
        there = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "extras"}
        moved: dict[str, Any] = {name: None if tensor is None else tensor.to(device) for name, tensor in there.items()}
        return replace(self, **moved, extras={name: tensor.to(device) for name, tensor in self.extras.items()})


class Learner(Protocol):
    """Improves a goal-conditioned policy from batches; knows no process, message or file."""

    wants: Literal["replay", "rollout"]
    """replay: random transitions of any age; rollout: each transition once, in order, soon after it happened"""

    def act(self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool) -> Choice:
        """Actions for n of the K copies: `observations[n, ...]`, `goals[n, goal]`, `rows[n]` the copies' numbers (recurrent learners
        keep their state by row, and reset it where `first`). `rows` None: states that belong to no copy (imagined ones); nothing is
        kept. `explore` false means greedy and must change no state that explores."""
        ...

    def learn(self, batch: Batch) -> Metrics:
        """Learn from one batch: one gradient update from replay, all epochs of a rollout."""
        ...

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """Named parameters in a fixed order, for averaging: `policy`, `critic`. Tensors are the live ones."""
        ...

    def averaged(self) -> None:
        """Told after the live parameters were changed from outside."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a restart needs: flat names to tensors (networks, targets, optimiser moments, temperatures, counters)."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...


@runtime_checkable
class Probabilities(Protocol):
    """A learner that can say how likely it is to act in a way (`abilities` of its settings: `probabilities`)."""

    def log_probability(self, observations: Array, goals: Array, actions: Array) -> NDArray[np.float32]:
        """ln pi(a | o, g), `[n]`, of `actions[n, A]` for `observations[n, ...]`, `goals[n, goal]`, by the policy that explores. Finite:
        what it would never do has the least probability that the learner tells apart."""
        ...


@runtime_checkable
class Surprise(Protocol):
    """A learner that can say how wrong it is about transitions (`abilities` of its settings: `surprise`)."""

    def surprise(self, batch: Batch) -> NDArray[np.float32]:
        """Absolute one-step temporal-difference error of each, `[B]`; learns nothing and changes nothing."""
        ...


@dataclass
class Prediction:
    """What a world model says of the next step, per row: mean and two kinds of standard deviation, over the model's outputs."""

    observation: Array
    """`[n, D]` next raw observation, mean over members"""
    reward: Array
    terminated: Array
    achieved: Array | None
    """`[n, L]` probability that each landmark is touched by anybody"""
    epistemic: Array
    """`[n, D]` standard deviation between members, in the units of the observation (circular fields: radians)"""
    aleatoric: Array
    """`[n, D]` standard deviation that members themselves predict"""


@dataclass
class ModelData:
    """Transitions for a world model, raw: `[n, H, D]` observations (history, newest last), `[n, A]` actions, `[n, D]` next observations."""

    observation: Array
    action: Array
    next_observation: Array
    reward: Array
    terminated: Array
    achieved: Array | None = None
    """`[n, L]` joint touch after the step (NaN rows of unknown joint touch are not included)"""


class WorldModel(Protocol):
    """Predicts the next observation from the present one(s) and the agent's own action."""

    @property
    def ready(self) -> bool:
        """Whether it has learnt enough to imagine with."""
        ...

    def fit(self, data: list[ModelData]) -> Metrics:
        """One update; member i learns from `data[i]`."""
        ...

    def predict(self, observation: Array, action: Array) -> Prediction:
        """For `[n, H, D]` and `[n, A]`."""
        ...

    def sample(self, observation: Array, action: Array, random: np.random.Generator) -> Prediction:
        """As `predict`, each row from one member drawn at random (with its noise): a possible future rather than the mean of all."""
        ...

    def error(self, data: ModelData) -> float:
        """Mean squared one-step error of `predict`, in units of each output's variance in `data` (1: no better than the mean)."""
        ...

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`world_model`: parameters to average (with the normalisers, so that members mean the same everywhere)."""
        ...

    def averaged(self) -> None:
        """Told after the live parameters were changed from outside."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a restart needs."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...


Predict = Callable[[Array, Array], Prediction]
"""next steps for `[n, H, D]` observations and `[n, A]` actions"""


@runtime_checkable
class Drawable(Protocol):
    """A world model that is a distribution over functions."""

    def draw(self, random: np.random.Generator) -> Predict:
        """One of the functions that it holds possible, the same for all rows and calls: its mean, without noise."""
        ...


@runtime_checkable
class Believing(Protocol):
    """A world model whose uncertainty falls where somebody is going to look."""

    def expect(self, plans: Sequence[tuple[Array, Array]]) -> None:
        """From the next refit on, as if the steps (`[n, H, D]`, `[n, A]`) of these plans had been seen already, as the mean predicts
        them; until it is told of others."""
        ...


class Additive(Protocol):
    """What rests on sums over transitions: everybody's sums added up belong to everybody's data."""

    @property
    def basis_id(self) -> str:
        """What must be equal for statistics to be added; at most 64 characters."""
        ...

    @property
    def transitions(self) -> int:
        """How many own ones were absorbed so far."""
        ...

    def statistics(self) -> NDArray[np.float64]:
        """Sums over the own transitions, `[P]`, of the same length at all agents; zeros without data."""
        ...

    def check(self, vector: NDArray[np.float64]) -> None:
        """`ValueError` that says why a vector can't be the sums over one other agent's transitions."""
        ...

    def published(self) -> None:
        """The own sums, as they are, have been told: they are in every `total` from now on."""
        ...

    def use(self, total: NDArray[np.float64], complete: bool) -> None:
        """Rest on `total` from now on (a model: from the next `refit` on), the sum over all agents as far as it is known, with the own
        data that were `published`. `complete` false: an estimate by averaging that has not mixed yet, in which data may count several
        times; the mean comes from it, the variance from the own data alone. `ValueError` for another length."""
        ...


@runtime_checkable
class AdditiveModel(Additive, Protocol):
    """A world model that rests on sums over transitions.

    Its owner tells it every real transition once (`absorb`) and lets it compute itself anew (`refit`) when it is `due`. `fit` of
    `WorldModel` learns nothing from its batches, since transitions drawn at random would count several times.
    """

    @property
    def due(self) -> bool:
        """Whether enough was absorbed since the last `refit`."""
        ...

    def absorb(self, data: ModelData) -> None:
        """Take in real transitions, each once in the model's life."""
        ...

    def refit(self) -> Metrics:
        """Compute the model anew from the newest total (without one: from the own data), every so often with kernel parameters learnt from
        it."""
        ...


@dataclass
class Transitions:
    """Steps of n copies at one tick, in training."""

    rows: NDArray[np.int64]
    """`[n]` numbers of the copies"""
    observation: Array
    """`[n, F]` features"""
    next_observation: Array
    next_raw: Array
    """`[n, D]` what was seen after the step, as it came from the environment"""
    raw: Array
    begins: NDArray[np.bool_]
    """`[n]`: an episode began with `observation`"""


class Curiosity(Protocol):
    """Pays an agent for what is new to it."""

    def reward(self, transitions: Transitions) -> NDArray[np.float32]:
        """What each step is worth beside the environment's reward, `[n]`. Called once for every tick's steps, in order of time."""
        ...

    def learn(self, batch: Batch) -> Metrics:
        """Get used to what a rollout `[T, K, ...]` has shown. Metrics: of this, and means over the steps since the last one."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a restart needs: flat names to tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...


@dataclass
class Frame:
    """What K copies show at one tick."""

    raw: Array
    """`[K, D]` as it comes from the environment"""
    reward: NDArray[np.float32]
    """`[K]` of the step that led here"""
    flags: NDArray[np.uint16]
    continuous: bool
    """whether the tick before was seen too"""


@dataclass
class Setting:
    """What a teacher makes of a tick."""

    goals: NDArray[np.int64]
    """`[K]` the goals in force from here on; -1 where there are none"""
    reward: NDArray[np.float32]
    """`[K]` what the policy is paid for the step that led here"""
    late: NDArray[np.float32]
    """`[K]` what it is paid for the step before that: the last one of an episode may be judged by how the next one begins"""


class Teacher(Protocol):
    """Sets a policy goals while an episode goes on, pays it for reaching them, and learns which ones to set."""

    goal_length: int
    """length of the encoding of a goal, one-hot: goals are 0 ... length - 1"""

    def observed(self, frame: Frame) -> Setting:
        """A tick: which goals have been reached, and which ones are in force now."""
        ...

    def learn(self, batch: Batch) -> Metrics:
        """Learn from the goals that have ended, if there are enough; told of every rollout that the policy learns from."""
        ...

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`teacher`: parameters to average."""
        ...

    def averaged(self) -> None:
        """Told after the live parameters were changed from outside."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a restart needs: flat names to tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...


class GoalSource(Protocol):
    """Proposes the goals that an agent sets itself."""

    def propose(self, random: np.random.Generator) -> int:
        """A goal's number."""
        ...

    def update(self, goal: int, reward: float) -> None:
        """Told the agent's own reward in a training episode with that goal."""
        ...

    def heard(self, goal: int, reward: float, partner_goals: Sequence[int]) -> None:
        """Told later of the same episode what the other members pursued, if all of their traces have come."""
        ...

    def probabilities(self) -> Array:
        """`[|G|]`, sums to 1."""
        ...

    def state(self) -> dict[str, Array]:
        """Everything a restart needs, as arrays."""
        ...

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...


__all__ = [
    "Additive",
    "AdditiveModel",
    "Array",
    "Batch",
    "Believing",
    "Choice",
    "Curiosity",
    "Drawable",
    "Frame",
    "GoalSource",
    "Interface",
    "Layout",
    "Learner",
    "Metrics",
    "ModelData",
    "Predict",
    "Prediction",
    "Probabilities",
    "Setting",
    "Surprise",
    "Teacher",
    "Transitions",
    "WorldModel",
]
