"""Random durations by inverse transform: a value is the quantile function of its distribution at a uniform draw.

With mean m and standard deviation s (`jitter`), z(u) the standard normal quantile:

    constant     m                                    uniform      min + u (max - min)
    normal       m + s z(u)                           exponential  -m ln(1 - u)
    lognormal    exp(a + b z(u)),  b^2 = ln(1 + (s/m)^2),  a = ln m - b^2 / 2
    pareto       k (1 - u)^(-1/c),  c = 1 + sqrt(1 + (m/s)^2),  k = m (c - 1) / c
    empirical    the value of rank floor(n u) of n

What is below `min` (at least 0) or above `max` is set to it. Values that follow each other on a link are correlated through their normal
scores: z_t = corr z_(t-1) + sqrt(1 - corr^2) e_t, u_t = Phi(z_t), which leaves the distribution of each value as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf, log, sqrt
from pathlib import Path
from statistics import NormalDist

from protocols.faults.settings import Distribution
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.settings_types import parse_duration

Quantile = Callable[[float], float]
_NORMAL = NormalDist()
_LEAST, _MOST = 2.0**-54, 1.0 - 2.0**-53
MOST_VALUES = 1_000_000
"""lines of a file of durations"""


def read_values(path: Path) -> list[float]:
    """The durations of a file, sorted, in seconds. `ConfigurationError` names the mistake and its place."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    values = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                values.append(parse_duration(text))
            except ValueError as error:
                raise ConfigurationError(f"{path}:{number}: {error}") from None
    if not values or len(values) > MOST_VALUES:
        raise ConfigurationError(f"{path} holds {len(values)} durations; it must hold one to {MOST_VALUES}")
    return sorted(values)


def quantile(settings: Distribution) -> Quantile:
    """The quantile function on (0, 1), in seconds. `ConfigurationError` where a parameter is missing (see `checking`)."""
    raw = _raw(settings)
    least, most = max(0.0, settings.min or 0.0), inf if settings.max is None else settings.max
    return lambda u: min(max(raw(u), least), most)


def _raw(settings: Distribution) -> Quantile:
    kind, mean, deviation = settings.dist, settings.mean, settings.jitter
    if kind == "uniform":
        if settings.min is None or settings.max is None:
            raise ConfigurationError("a uniform distribution needs min and max")
        low, width = settings.min, settings.max - settings.min
        return lambda u: low + u * width
    if kind == "empirical":
        if settings.file is None:
            raise ConfigurationError("an empirical distribution needs a file")
        values = read_values(Path(settings.file))
        return lambda u: values[int(u * len(values))]
    if mean is None:
        raise ConfigurationError(f"a distribution of the kind {kind} needs a mean")
    if kind == "constant":
        return lambda u: mean
    if kind == "exponential":
        return lambda u: -mean * log(1.0 - u)
    if deviation is None or mean <= 0.0 or deviation <= 0.0:
        raise ConfigurationError(f"a distribution of the kind {kind} needs a mean and a jitter above 0")
    if kind == "normal":
        return lambda u: mean + deviation * _NORMAL.inv_cdf(u)
    if kind == "lognormal":
        b = sqrt(log(1.0 + (deviation / mean) ** 2))
        a = log(mean) - b * b / 2.0
        return lambda u: exp(a + b * _NORMAL.inv_cdf(u))
    c = 1.0 + sqrt(1.0 + (mean / deviation) ** 2)
    k = mean * (c - 1.0) / c
    return lambda u: float(k * (1.0 - u) ** (-1.0 / c))


class Series:
    """Successive values of a distribution on one link."""

    __slots__ = ("_corr", "_new", "_quantile", "_score")

    def __init__(self, settings: Distribution, shared: Quantile | None = None) -> None:
        self._quantile = shared or quantile(settings)
        self._corr = settings.corr
        self._new = sqrt(1.0 - settings.corr**2)
        self._score: float | None = None

    def value(self, u: float) -> float:
        """The next value, from a uniform draw."""
        if not self._corr:
            return self._quantile(u)
        fresh = _NORMAL.inv_cdf(u)
        self._score = fresh if self._score is None else self._corr * self._score + self._new * fresh
        return self._quantile(min(max(_NORMAL.cdf(self._score), _LEAST), _MOST))
