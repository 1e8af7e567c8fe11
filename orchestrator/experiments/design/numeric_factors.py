"""Factors whose values are amounts of something, so that values between two of them have a meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)( ?[a-zA-Z%]*)")


@dataclass(frozen=True)
class NumericFactor:
    """A factor whose labels are amounts: `50ms`, `30 %`, `12`. `labels` and `values` ascend together."""

    factor: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    unit: str
    """as it follows the number: `ms`, ` %`, or nothing"""

    @classmethod
    def of(cls, factor: str, least: str, labels: Sequence[str]) -> Self:
        """Read the labels; `ValueError` where they are no amounts of one unit, or `least` is not the least of them."""
        found = [_AMOUNT.fullmatch(label) for label in labels]
        units = {match[2] for match in found if match is not None}
        if None in found or len(units) != 1:
            raise ValueError(f"needs amounts of one unit, such as 0ms, 50ms, 100ms; the values of {factor} are {', '.join(labels)}")
        by_value = sorted((float(match[1]), label) for match, label in zip(found, labels, strict=True) if match is not None)
        if by_value[0][1] != least or len({value for value, _ in by_value}) < len(by_value):
            raise ValueError(
                f"counts from the baseline, which must be the least amount ({by_value[0][1]} of {factor}); and no amount is given twice"
            )
        return cls(factor, tuple(label for _, label in by_value), tuple(value for value, _ in by_value), units.pop())
