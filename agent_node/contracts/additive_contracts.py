"""Contracts of what rests on sums over transitions, which agents can add up."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts.training_data import Metrics
from agent_node.contracts.world_model_contracts import ModelData


class AdditiveStatistics(Protocol):
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
class AdditiveWorldModel(AdditiveStatistics, Protocol):
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
