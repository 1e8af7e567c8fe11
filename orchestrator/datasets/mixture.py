"""Which policies act in a dataset, and in what share of its episodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from protocols.runtime.errors import UsageError

_SHARE = re.compile(r"[0-9]+(?:\.[0-9]+)?|[0-9]+/[1-9][0-9]*")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True)
class MixtureEntry:
    """One policy of a mixture."""

    name: str
    """quality of its data"""
    policy: str
    epsilon: float
    """probability of a uniformly random action in place of the policy's"""
    share: Fraction

    @property
    def text(self) -> str:
        """The policy as it is written on the command line."""
        return self.policy + (f"@{self.epsilon:g}" if self.epsilon else "")


def parse_mixture(text: str) -> list[MixtureEntry]:
    """`[NAME=]POLICY[@EPSILON][:SHARE], ...`; shares are made to sum to 1. `UsageError` names what is wrong."""
    entries = [_entry(part.strip()) for part in text.split(",")]
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise UsageError(f"--mix: two entries have the same name in {text}; write NAME=POLICY, for example medium=cover@0.5:1/2")
    total = sum((entry.share for entry in entries), Fraction(0))
    return [MixtureEntry(entry.name, entry.policy, entry.epsilon, entry.share / total) for entry in entries]


def _entry(text: str) -> MixtureEntry:
    rest, colon, last = text.rpartition(":")
    share = Fraction(1)
    if colon and _SHARE.fullmatch(last):
        text, share = rest, Fraction(last)
    head, equals, tail = text.partition("=")
    name, policy = (head, tail) if equals else ("", text)
    policy, at, given = policy.rpartition("@") if "@" in policy else (policy, "", "")
    try:
        epsilon = float(given) if at else 0.0
    except ValueError:
        epsilon = -1.0
    if not policy or not share or not 0 <= epsilon <= 1 or (equals and not _NAME.fullmatch(name)):
        form = "[NAME=]POLICY[@EPSILON][:SHARE] with 0 <= EPSILON <= 1 and SHARE > 0, for example medium=cover@0.5:1/3"
        raise UsageError(f'--mix: "{text}" is no entry of a mixture; write {form}')
    return MixtureEntry(name or _quality(policy, epsilon), policy, epsilon, share)


def _quality(policy: str, epsilon: float) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", policy).strip("-.")[-48:]
    return f"{plain}-{epsilon:g}" if epsilon else plain


def quotas(entries: Sequence[MixtureEntry], total: int) -> list[int]:
    """How much of `total` each entry gets, at least 1: the largest remainders are rounded up. `UsageError` for fewer than entries."""
    if total < len(entries):
        raise UsageError(f"{total} is less than the {len(entries)} entries of --mix; ask for more")
    given = [max(1, floor(entry.share * total)) for entry in entries]
    order = sorted(range(len(entries)), key=lambda place: (given[place] - entries[place].share * total, place))
    missing = total - sum(given)
    for place in order[: max(0, missing)]:
        given[place] += 1
    while sum(given) > total:
        given[max(range(len(given)), key=lambda place: given[place])] -= 1
    return given
