"""Two memories of whole episodes that move with the returns: the best ones, and the newest others (PMIC, arXiv 2203.08553)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import State, with_prefix

WINDOW = 1000
"""newest returns whose mean and standard deviation are used"""
LEAST_RETURNS = 10
"""returns in the window before its mean and standard deviation are used"""


@dataclass(order=True)
class StoredEpisode:
    """One episode in an `EpisodeStore`, ordered by return, then by number."""

    total: float
    """its undiscounted return"""
    number: int
    steps: dict[str, torch.Tensor] = field(compare=False)
    """by name `[T, width]` float32"""


class EpisodeStore:
    """At most `capacity` whole episodes with steps of `widths`: the ones of greatest return if `best`, else the newest."""

    def __init__(self, capacity: int, widths: Mapping[str, int], best: bool) -> None:
        self.capacity, self._widths, self._best = capacity, dict(widths), best
        self.episodes: list[StoredEpisode] = []
        """a heap by return if `best`, else in the order in which they were added"""
        self._joined: dict[str, torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def returns(self) -> list[float]:
        """Returns of the episodes, ascending."""
        return sorted(episode.total for episode in self.episodes)

    @property
    def numbers(self) -> list[int]:
        """Numbers of the episodes, ascending."""
        return sorted(episode.number for episode in self.episodes)

    @property
    def steps(self) -> dict[str, torch.Tensor]:
        """The steps of all episodes, one after the other: by name `[sum of T, width]`."""
        if self._joined is None:
            empty = {name: torch.empty(0, width) for name, width in self._widths.items()}
            self._joined = {name: torch.cat([none, *(one.steps[name] for one in self.episodes)]) for name, none in empty.items()}
        return self._joined

    def add(self, episode: StoredEpisode) -> None:
        """Store an episode. A full store drops its worst one if `best` (the oldest number among equals), else its oldest one."""
        self._joined = None
        if not self._best:
            self.episodes.append(episode)
            del self.episodes[: -self.capacity]
        elif len(self.episodes) < self.capacity:
            heapq.heappush(self.episodes, episode)
        else:
            heapq.heapreplace(self.episodes, episode)

    def take_first(self) -> StoredEpisode:
        """Remove the episode of the least number, and return it; for stores of the newest episodes. `ValueError` for an empty store."""
        place = min(range(len(self.episodes)), key=lambda index: self.episodes[index].number)
        self._joined = None
        return self.episodes.pop(place)

    def sample(self, n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """n steps, uniform with replacement: by name `[n, width]`. `ValueError` for an empty store."""
        steps = self.steps
        total = len(next(iter(steps.values())))
        if not total:
            raise ValueError("the store is empty; add episodes before sampling")
        rows = torch.randint(total, (n,), generator=generator)
        return {name: values.index_select(0, rows) for name, values in steps.items()}

    def state_dict(self) -> State:
        """Returns, numbers, lengths and steps of the episodes, in the order of `episodes`."""
        first = next(iter(self._widths))
        return self.steps | {
            "returns": torch.tensor([one.total for one in self.episodes], dtype=torch.float64),
            "numbers": torch.tensor([one.number for one in self.episodes], dtype=torch.int64),
            "lengths": torch.tensor([len(one.steps[first]) for one in self.episodes], dtype=torch.int64),
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned; `ValueError` for more episodes than `capacity`, or steps of other widths."""
        lengths = state["lengths"].tolist()
        if len(lengths) > self.capacity:
            raise ValueError(f"{len(lengths)} episodes in the state do not fit into a memory of {self.capacity}")
        for name, width in self._widths.items():
            if state[name].shape != (sum(lengths), width):
                raise ValueError(f"{name} has shape {list(state[name].shape)} in the state and [{sum(lengths)}, {width}] here")
        parts = {name: torch.tensor_split(state[name].clone(), np.cumsum(lengths)[:-1].tolist()) for name in self._widths}
        facts = zip(state["returns"].tolist(), state["numbers"].tolist(), strict=True)
        self.episodes = [
            StoredEpisode(total, number, {name: parts[name][row] for name in self._widths}) for row, (total, number) in enumerate(facts)
        ]
        self._joined = None


class ReturnWindow:
    """The newest 1000 returns, in order, in one array."""

    def __init__(self, returns: Sequence[float] = ()) -> None:
        self._array = np.zeros(2 * WINDOW)
        self._start = self._end = 0
        for total in returns:
            self.append(total)

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def returns(self) -> NDArray[np.float64]:
        """Oldest first."""
        return self._array[self._start : self._end]

    def append(self, total: float) -> None:
        """Add a return; beyond 1000 the oldest is dropped."""
        if self._end == len(self._array):
            self._array[: WINDOW - 1] = self._array[self._end - WINDOW + 1 :]
            self._start, self._end = 0, WINDOW - 1
        self._array[self._end] = total
        self._end += 1
        self._start = max(self._start, self._end - WINDOW)


class DualMemory:
    """A superior store of the best episodes, and an inferior one of the newest others, each with at most `capacity` episodes.

    An episode of return R is superior where R > threshold, else inferior:

        threshold = -inf                          while the superior store is empty
        threshold = min superior return           until the window has 10 returns
        threshold = max(min superior return, m)   from then on, with m the mean of the window

    The window holds the newest 1000 returns before this one. With `max_deviations` d, returns count as at most m + d times the window's
    standard deviation where that is not 0, so that one false return cannot fix the threshold.

    Admission depends on the order of episodes. With `reorder` n, an episode waits until n others have come, and the one of the least number
    goes first: memories that receive the same episodes in slightly different orders remain equal.
    """

    def __init__(self, capacity: int, widths: Mapping[str, int], max_deviations: float | None = None, reorder: int = 0) -> None:
        self.waiting = EpisodeStore(reorder + 1, widths, best=False)
        """episodes that are not admitted yet"""
        self._reorder = reorder
        self.superior = EpisodeStore(capacity, widths, best=True)
        self.inferior = EpisodeStore(capacity, widths, best=False)
        self._max_deviations = max_deviations
        self._window = ReturnWindow()

    @property
    def threshold(self) -> float:
        """What the return of the next episode must exceed to be superior."""
        if not len(self.superior):
            return -math.inf
        least = self.superior.episodes[0].total
        return least if len(self._window) < LEAST_RETURNS else max(least, float(self._window.returns.mean()))

    def add(self, number: int, total: float, steps: Mapping[str, torch.Tensor], inferior: bool = False) -> bool | None:
        """Store an episode, by name `[T, width]`. Returns whether the episode that was admitted is superior, which with `inferior` none is;
        None where all wait. `ValueError` for a return that is not finite."""
        if not math.isfinite(total):
            raise ValueError(f"the return of episode {number} is {total}; it must be finite")
        kept = {name: values.to(torch.float32).clone() for name, values in steps.items()}
        self.waiting.add(StoredEpisode(total, number, kept))
        if len(self.waiting) <= self._reorder:
            return None
        episode = self.waiting.take_first()
        episode.total = min(episode.total, self._greatest())
        superior = not inferior and episode.total > self.threshold
        (self.superior if superior else self.inferior).add(episode)
        self._window.append(episode.total)
        return superior

    def _greatest(self) -> float:
        if self._max_deviations is None or len(self._window) < LEAST_RETURNS:
            return math.inf
        deviation = float(self._window.returns.std())
        return float(self._window.returns.mean()) + self._max_deviations * deviation if deviation else math.inf

    def state_dict(self) -> State:
        """All stores and the window."""
        stores = {"superior": self.superior, "inferior": self.inferior, "waiting": self.waiting}
        found = {f"{name}.{key}": tensor for name, store in stores.items() for key, tensor in store.state_dict().items()}
        return found | {"window": torch.from_numpy(self._window.returns.copy())}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned; `ValueError` where the episodes do not fit, `KeyError` where a tensor is missing."""
        self.superior.load_state_dict(with_prefix("superior.", state))
        self.inferior.load_state_dict(with_prefix("inferior.", state))
        self.waiting.load_state_dict(with_prefix("waiting.", state))
        self._window = ReturnWindow(state["window"].tolist())
