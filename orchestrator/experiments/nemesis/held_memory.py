"""What a state machine holds: the sizes of its containers, for those who check that they are bounded."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator

UNCOUNTED = ("counters",)
CONTAINERS = (dict, set, list, deque)


def held(machine: object) -> dict[str, int]:
    """Entries of each container of a state machine and of its parts, by name."""
    sizes: Counter[str] = Counter()
    for name, container in _containers(machine):
        sizes[name] = max(sizes[name], len(container))
    return dict(sizes)


def mentions(machine: object, name: str, among: Collection[str]) -> list[str]:
    """Which containers of these names have an entry of that name, those of unfinished episodes included."""
    found = [where for where, container in _containers(machine) if where.rpartition(".")[2] in among and name in container]
    for item in getattr(machine, "_active", {}).values():
        found += [f"_active[].{where}" for where in among if name in getattr(item, where, ())]
    return found


def _containers(machine: object) -> Iterator[tuple[str, Collection[object]]]:
    for name, value in vars(machine).items():
        if name in UNCOUNTED:
            continue
        if isinstance(value, CONTAINERS):
            yield name, value
            if isinstance(value, dict):
                for item in value.values():
                    if isinstance(item, CONTAINERS):
                        yield f"{name}[]", item
        elif type(value).__module__.startswith("protocols.") and hasattr(value, "__dict__"):
            for inner, container in _containers(value):
                yield f"{name}.{inner}", container
