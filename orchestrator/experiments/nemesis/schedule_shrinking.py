"""The smallest schedule under which a promise is still broken: delta debugging (Zeller and Hildebrandt 2002) over the entries, then over
the parts of each entry, then shorter durations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from orchestrator.experiments.nemesis.schedule_draws import Entry
from protocols.runtime.settings_types import format_duration, parse_duration

MOST_TRIALS = 150
"""simulations of one shrinking"""
SHORTEST = 0.05
"""seconds below which no duration is halved"""
_EFFECTS = ("delay", "loss", "duplicate", "reorder")

Fails = Callable[[Sequence[Entry]], bool]


class Shrinking:
    """Shrinks schedules by trials: `fails(entries)` simulates one and returns whether the same promise is broken."""

    def __init__(self, fails: Fails, most: int = MOST_TRIALS) -> None:
        self._simulates, self._most = fails, most
        self.trials = 0

    def smallest(self, entries: Sequence[Entry]) -> list[Entry]:
        """Entries of which none can be left out, simplified and shortened, as far as the number of trials reaches."""
        found = self._fewest(list(entries))
        for change in (_simpler, _shorter):
            found = self._each(found, change)
        return found

    def _fails(self, entries: Sequence[Entry]) -> bool:
        if self.trials >= self._most:
            return False
        self.trials += 1
        return self._simulates(entries)

    def _fewest(self, entries: list[Entry]) -> list[Entry]:
        """Delta debugging: chunks are left out, of half of the entries first, in the end one by one."""
        if entries and self._fails([]):
            return []
        chunks = 2
        while len(entries) >= 2:
            size = -(-len(entries) // chunks)
            for start in range(0, len(entries), size):
                rest = entries[:start] + entries[start + size :]
                if rest and self._fails(rest):
                    entries, chunks = rest, max(2, chunks - 1)
                    break
            else:
                if size == 1:
                    break
                chunks = min(len(entries), 2 * chunks)
        return entries

    def _each(self, entries: list[Entry], change: Callable[[Entry], Iterator[Entry]]) -> list[Entry]:
        """Apply changes to each entry as long as the promise stays broken."""
        for number in range(len(entries)):
            changed = True
            while changed:
                changed = False
                for candidate in change(entries[number]):
                    trial = [*entries[:number], candidate, *entries[number + 1 :]]
                    if self._fails(trial):
                        entries, changed = trial, True
                        break
        return entries


def _simpler(entry: Entry) -> Iterator[Entry]:
    """A link rule with one effect less, for peers only, or in one direction."""
    link = entry.get("link")
    if link is None:
        return
    effects = [effect for effect in _EFFECTS if effect in link]
    for effect in effects if len(effects) > 1 else ():
        yield entry | {"link": {key: value for key, value in link.items() if key != effect}}
    if "channels" in link:
        yield entry | {"link": {**{key: value for key, value in link.items() if key != "channels"}, "to": link["to"][0]}}
    if "symmetric" in link and "channels" not in link:
        yield entry | {"link": {key: value for key, value in link.items() if key != "symmetric"}}


def _shorter(entry: Entry) -> Iterator[Entry]:
    """Half as long. Beginnings stay: a replay by processes has to have come as far."""
    if (half := _half(entry.get("for"))) is not None:
        yield entry | {"for": half}
    for kind, key in (("process", "restart_after"), ("membership", "return_after")):
        if kind in entry and (half := _half(entry[kind].get(key))) is not None:
            yield entry | {kind: {**entry[kind], key: half}}


def _half(duration: str | None) -> str | None:
    seconds = 0.0 if duration is None else parse_duration(duration)
    return format_duration(round(seconds / 2, 3)) if seconds >= 2 * SHORTEST else None
