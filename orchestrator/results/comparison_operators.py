"""How a figure is compared with what a file expects of it (`expect:`), of a run and of an experiment alike."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""(measured, expected value) -> whether it holds, by the key `op`"""
