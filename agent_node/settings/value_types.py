"""Kinds of numbers that several rooms ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

Device = Literal["auto", "cpu", "cuda"]
"""where torch computes; auto: cuda where there is a GPU, else cpu"""
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Widths = Annotated[list[Annotated[int, Field(ge=1, le=8192)]], Field(min_length=1, max_length=8)]


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] >= interval[1]:
        raise ValueError(f"the lower end {interval[0]:g} is not below the upper end {interval[1]:g}")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Lower and upper end, in this order."""
