"""Everything that faults leave to chance: keyed random numbers, random durations, and faults drawn at random.

Each random number is a keyed hash of what it is for, so none depends on timing, on threads, or on another link:

    u(seed; names, seq, index) = (w + 1/2) / 2^53,   w = the first 53 bits of word `index` of BLAKE2b(key = seed; names, seq)

`names` identify the draw (rule, sender, receiver, channel, ...), `seq` for which message, `index` which of the draws for it.

A random duration is the quantile function of its distribution at a uniform draw (inverse transform). With mean m and standard deviation s
(`jitter`), z(u) the standard normal quantile:

    constant     m                                    uniform      min + u (max - min)
    normal       m + s z(u)                           exponential  -m ln(1 - u)
    lognormal    exp(a + b z(u)),  b^2 = ln(1 + (s/m)^2),  a = ln m - b^2 / 2
    pareto       k (1 - u)^(-1/c),  c = 1 + sqrt(1 + (m/s)^2),  k = m (c - 1) / c
    empirical    the value of rank floor(n u) of n

What is below `min` (at least 0) or above `max` is set to it. Values that follow each other on a link are correlated through their normal
scores: z_t = corr z_(t-1) + sqrt(1 - corr^2) e_t, u_t = Phi(z_t), which leaves the distribution of each value as it is.

Of the faults drawn at random the k-th comes a drawn time after the one before it, is of a kind drawn by its weight, lasts a drawn time, and
hits drawn agents. One that would come while `max_concurrent` others last is left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from itertools import accumulate, count
from math import exp, inf, log, sqrt
from pathlib import Path
from statistics import NormalDist
from struct import Struct
from typing import TYPE_CHECKING, Any

from protocols.faults.settings import Distribution, FaultEvent, Nemesis
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.settings_types import format_duration, parse_duration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SEQUENCE = Struct("<QI")
_WORDS = Struct("<8Q")
_SHIFT = 11
_SCALE = 2.0**-53


class KeyedDraws:
    """The draws of one purpose. Uniform on the open interval (0, 1), 53 bits each; each call costs one hash."""

    __slots__ = ("_base",)

    def __init__(self, seed: int, *names: object) -> None:
        self._base = blake2b(key=seed.to_bytes(8, "little"), digest_size=64)
        for name in names:
            text = str(name).encode()
            self._base.update(len(text).to_bytes(4, "little") + text)

    def eight(self, seq: int, block: int = 0) -> tuple[float, ...]:
        """Draws 8 * block ... 8 * block + 7 for `seq`."""
        state = self._base.copy()
        state.update(_SEQUENCE.pack(seq, block))
        return tuple([((word >> _SHIFT) + 0.5) * _SCALE for word in _WORDS.unpack(state.digest())])

    def uniform(self, seq: int, index: int = 0) -> float:
        """Uniform number in [0, 1): draw `index` of message `seq`; the same at every call."""
        return self.eight(seq, index // 8)[index % 8]

    def choice(self, count: int, seq: int) -> int:
        """A number from 0 to count - 1, each equally likely."""
        return int(self.uniform(seq) * count)

    def shuffled(self, names: list[str], seq: int) -> list[str]:
        """The names in a drawn order (each gets a draw, and they are sorted by it)."""
        return [name for _, name in sorted((self.uniform(seq, index), name) for index, name in enumerate(names))]


def first_draws(draws: Sequence[KeyedDraws], seqs: Iterable[int]) -> NDArray[np.float64]:
    """Draw 0 of one message of each of these, `[len(draws)]`: `draws[k].uniform(seqs[k])`."""
    import numpy as np  # a configuration is checked without it

    digests = []
    for one, seq in zip(draws, seqs, strict=False):
        state = one._base.copy()
        state.update(_SEQUENCE.pack(seq, 0))
        digests.append(state.digest())
    words = np.frombuffer(b"".join(digests), "<u8")[:: _WORDS.size // 8]
    return ((words >> np.uint64(_SHIFT)).astype(np.float64) + 0.5) * _SCALE


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


@cache
def quantile(settings: Distribution) -> Quantile:
    """The quantile function on (0, 1), in seconds, the same one for all links of a rule. `ConfigurationError` where a parameter is
    missing (see `protocols.faults.fault_checks`)."""
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

    def __init__(self, settings: Distribution) -> None:
        self._quantile = quantile(settings)
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


_DEATHS = ("kill", "kill_environment")
_SHAPES = ("isolate_one", "halves", "majority_minority", "overlapping_ring", "random")
SLOW = 5.0
"""how many times as long a slow agent takes to learn"""
DELAY = (0.03, 0.1)
"""seconds: range of the mean delay of disturbed links"""
LOSS = (0.0, 0.3)
"""range of their probability of loss"""
_SHORTEST = 0.001
_ENVIRONMENT = "env-0"


def drawn_events(settings: Nemesis, seed: int, agents: Sequence[str]) -> Iterator[FaultEvent]:
    """Faults in the order of their beginnings; without end. None where all weights are 0."""
    draws = KeyedDraws(seed, "nemesis")
    gap, length = quantile(settings.every), quantile(settings.duration)
    weights = settings.weights.model_dump()
    kinds = [kind for kind, weight in weights.items() if weight > 0]
    ends = list(accumulate(weights[kind] for kind in kinds))
    running: list[float] = []
    now = 0.0
    for number in count(1) if kinds else ():
        first, which, lasting, whom, shape, delay, loss, _ = draws.eight(number)
        now += max(gap(first), _SHORTEST)
        running = [end for end in running if end > now]
        if len(running) >= settings.max_concurrent:
            continue
        start = round(now, 3)
        lasts = max(round(length(lasting), 3), _SHORTEST)
        running.append(start + lasts)
        kind = kinds[min(bisect_right(ends, which * ends[-1]), len(kinds) - 1)]
        target = agents[int(whom * len(agents))]
        what = _what(kind, target, lasts, shape, delay, loss)
        event: dict[str, Any] = {"id": f"random-{number}", "at": {"time": format_duration(start)}, **what}
        if kind not in _DEATHS:  # whose end is the return of the process
            event["for"] = format_duration(lasts)
        yield FaultEvent.model_validate(event)


def _what(kind: str, target: str, lasts: float, shape: float, delay: float, loss: float) -> dict[str, Any]:
    if kind == "partition":
        return {"partition": {"shape": _SHAPES[int(shape * len(_SHAPES))]}}
    if kind in _DEATHS:
        target = _ENVIRONMENT if kind == "kill_environment" else target
        return {"process": {"target": target, "action": "kill", "restart_after": format_duration(lasts)}}
    if kind == "pause":
        return {"process": {"target": target, "action": "pause"}}
    if kind == "slow":
        return {"straggler": {"target": target, "factor": SLOW, "where": "update"}}
    mean = round(DELAY[0] + delay * (DELAY[1] - DELAY[0]), 4)
    return {
        "link": {
            "from": target,
            "symmetric": True,
            "delay": {"dist": "exponential", "mean": format_duration(mean)},
            "loss": round(LOSS[0] + loss * (LOSS[1] - LOSS[0]), 4),
        }
    }
