"""Mixtures of policies: how they are written, and how many episodes each policy gets."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.datasets.mixture import MixtureEntry, parse_mixture, quotas
from protocols.runtime.errors import UsageError


def test_entries() -> None:
    first, second, third = parse_mixture("random:1/3, medium=cover@0.5:1/3,runs/night")
    assert (first.name, first.policy, first.epsilon, first.text) == ("random", "random", 0.0, "random")
    assert (second.name, second.policy, second.epsilon, second.text) == ("medium", "cover", 0.5, "cover@0.5")
    assert (third.name, third.policy) == ("runs-night", "runs/night")
    assert [entry.share for entry in (first, second, third)] == [Fraction(1, 5), Fraction(1, 5), Fraction(3, 5)]


def test_files_of_functions_keep_their_colon() -> None:
    (one,) = parse_mixture("./rules.py:policy")
    assert (one.policy, one.share, one.name) == ("./rules.py:policy", 1, "rules.py-policy")
    (one, _) = parse_mixture("mine=./rules.py:policy@0.1:0.25,random:0.75")
    assert (one.name, one.policy, one.epsilon, one.share) == ("mine", "./rules.py:policy", 0.1, Fraction(1, 4))


@pytest.mark.parametrize("text", ["", "random:0", "cover@2", "cover@x", "=random", "a b=random", "random,random", "random,,cover"])
def test_mistakes(text: str) -> None:
    with pytest.raises(UsageError, match="--mix"):
        parse_mixture(text)


@given(st.lists(st.fractions(Fraction(1, 50), Fraction(1), max_denominator=100), min_size=1, max_size=6), st.integers(6, 5000))
def test_quotas_sum_to_the_whole(shares: list[Fraction], total: int) -> None:
    """Each is within one of its share, unless it is lifted to 1."""
    whole = sum(shares, Fraction(0))
    entries = [MixtureEntry(f"e{i}", "random", 0.0, share / whole) for i, share in enumerate(shares)]
    given = quotas(entries, total)
    assert sum(given) == total and min(given) >= 1
    if min(entry.share for entry in entries) * total >= 1:
        assert all(abs(count - entry.share * total) < len(entries) for count, entry in zip(given, entries, strict=True))


def test_more_entries_than_episodes() -> None:
    with pytest.raises(UsageError, match="ask for more"):
        quotas(parse_mixture("random,cover"), 1)
