"""Kinds of numbers that several rooms ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Device = Literal["auto", "cpu", "cuda"]
"""where torch computes; auto: cuda where there is a GPU, else cpu"""
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Widths = Annotated[list[Annotated[int, Field(ge=1, le=8192)]], Field(min_length=1, max_length=8)]
