"""Vectors that a Byzantine agent sends in place of its own. Pure functions, used by fault injection in real processes and by tests.

The first eight are attacks of the literature, which produce plausible vectors; the others are outputs of faulty senders, which must be
refused before a rule processes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class AttackContext:
    """The inputs of an attack on the vector for `receiver` in `round`: the correct vector, vectors of others, the strength and a
    generator."""

    own: Array
    """the correct vector of the sender, `[d]`"""
    known: Mapping[str, Array]
    """the newest vectors of others that it has seen, by name, each `[d]`; without any, it takes its own for theirs"""
    receiver: str
    round: int
    scale: float
    """how strong the attack is"""
    random: np.random.Generator
    """generator of this (sender, receiver, round)"""
    past: Array
    """the own vector of an earlier round, `[d]`"""

    @property
    def others(self) -> Array:
        """Rows of `known`, `[m, d]` float64."""
        return np.array(list(self.known.values()) or [self.own], np.float64)

    @property
    def size(self) -> float:
        """Root mean square of the own numbers."""
        return float(np.sqrt(np.square(self.own, dtype=np.float64).mean())) if len(self.own) else 0.0


Attack = Callable[[AttackContext], Array]


def draws(seed: int, sender: str, receiver: str, round: int) -> np.random.Generator:
    """Draws of one message, the same whenever it is drawn: Philox, keyed by the seed, its counter the sender, the receiver and the
    round."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, crc32(sender.encode()), crc32(receiver.encode()), round]))


def sign_flip(s: AttackContext) -> Array:
    """-scale x, `[d]`: the own vector with opposite sign."""
    return -s.scale * s.own


def scale(s: AttackContext) -> Array:
    """scale x, `[d]`: the own vector, longer."""
    return s.scale * s.own


def noise(s: AttackContext) -> Array:
    """x + scale rms(x) e, `[d]`, with e ~ N(0, I) and rms(x) = sqrt(mean x_k^2)."""
    return s.own + s.scale * s.size * s.random.standard_normal(len(s.own))


def constant(s: AttackContext) -> Array:
    """`[d]` with `scale` in every coordinate."""
    return np.full(len(s.own), s.scale)


def alie(s: AttackContext) -> Array:
    """A little is enough: mean - scale std of the others, coordinate by coordinate (Baruch, Baruch and Goldberg 2019)."""
    others = s.others
    return np.asarray(others.mean(axis=0) - s.scale * others.std(axis=0))


def ipm(s: AttackContext) -> Array:
    """Inner product manipulation: -scale mean of the others (Xie, Koyejo and Gupta 2020)."""
    return np.asarray(-s.scale * s.others.mean(axis=0))


def dissensus(s: AttackContext) -> Array:
    """Pushes the receiver from what the others would draw it to: x_r - scale sum_k (x_k - x_r) over the others (after He, Karimireddy and
    Jaggi 2022)."""
    target = np.asarray(s.known.get(s.receiver, s.own), np.float64)
    return np.asarray(target - s.scale * (s.others - target).sum(axis=0))


def two_faced(s: AttackContext) -> Array:
    """scale x to one half of the receivers, -scale x to the other; halves of the sorted names in `known`, else of a hash of the name."""
    names = sorted(s.known)
    half = names.index(s.receiver) if s.receiver in names else crc32(s.receiver.encode())
    return (s.scale if half % 2 else -s.scale) * s.own


def nan(s: AttackContext) -> Array:
    """x with its first number replaced by NaN."""
    return _first(s.own, np.nan)


def inf(s: AttackContext) -> Array:
    """x with its first number replaced by infinity."""
    return _first(s.own, np.inf)


def stale_replay(s: AttackContext) -> Array:
    """The vector of an earlier round as if it were this one's."""
    return s.past.copy()


def wrong_shape(s: AttackContext) -> Array:
    """One number more than there should be."""
    return np.append(s.own, s.own[:1] if len(s.own) else [0.0])


def garbage(s: AttackContext) -> Array:
    """Random bits read as float32: numbers of all sizes, some not finite."""
    return s.random.integers(0, 2**32, len(s.own), np.uint32).view(np.float32)


def _first(vector: Array, value: float) -> Array:
    changed = np.array(vector, np.float64)
    changed[:1] = value
    return changed


ATTACKS: Mapping[str, Attack] = {
    attack.__name__: attack
    for attack in (sign_flip, scale, noise, constant, alie, ipm, dissensus, two_faced, nan, inf, stale_replay, wrong_shape, garbage)
}
"""by the names that fault schedules use"""


def apply_attack(attack: str, situation: AttackContext) -> NDArray[np.float32]:
    """The vector that is sent instead of the true one, float32: `[d]`, except from `wrong_shape`. `KeyError` for an unknown attack."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(ATTACKS[attack](situation), np.float32)
