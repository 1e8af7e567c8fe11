"""Fault schedules drawn from seeds, for searches in simulations: entries of `faults.events`, each of which ends by itself.

A schedule is of one of four severities, so that promises which hold only without losses, or only without deaths, are tested too.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from protocols.simulation.simulated_stepping import SERVER

FAULTY = 6.0
"""seconds in which faults begin"""
LONGEST = 3.0
"""seconds that a fault lasts at most"""
MOST_ENTRIES = 6
SEVERITIES = ("calm", "mild", "harsh", "deaths")
"""calm: delays, repetitions and reordering; mild: losses of a tenth too; harsh: any losses, and partitions; deaths: all that, and nodes
that die or leave, and return"""

Entry = dict[str, Any]


def drawn_schedule(seed: int, agents: Sequence[str]) -> list[Entry]:
    """The entries of this seed, in the order of their numbers."""
    random = Random(seed)
    severity = random.choice(SEVERITIES)
    return [_entry(f"f{number}", severity, agents, random) for number in range(1, random.randint(1, MOST_ENTRIES) + 1)]


def _entry(name: str, severity: str, agents: Sequence[str], random: Random) -> Entry:
    entry: Entry = {"id": name, "at": {"time": _seconds(random.uniform(0.0, FAULTY))}}
    kind = random.random()
    if severity == "deaths" and kind < 0.5:
        away = _seconds(random.uniform(0.1, LONGEST))
        if kind < 0.1:
            return entry | {"process": {"target": SERVER, "action": "kill", "restart_after": away}}
        target = random.choice(agents)
        if kind < 0.2:
            return entry | {"membership": {"leave": target, "return_after": away}}
        return entry | {"process": {"target": target, "action": "kill", "restart_after": away}}
    entry["for"] = _seconds(random.uniform(0.2, LONGEST))
    if severity in ("harsh", "deaths") and kind > 0.8 and len(agents) > 1:
        first = sorted(random.sample(list(agents), random.randint(1, len(agents) - 1)))
        groups = [first, [name for name in agents if name not in first]]
        return entry | {"partition": {"groups": groups, "direction": random.choice(["both", "both", "from_first", "to_first"])}}
    return entry | {"link": _link(severity, agents, random)}


def _link(severity: str, agents: Sequence[str], random: Random) -> Entry:
    link: Entry = {"from": "agent-*", "to": "agent-*"}
    if random.random() < 0.6:
        link["from"] = random.choice(agents)
        if random.random() < 0.5:
            link["symmetric"] = True
    if random.random() < 0.3:
        # Messages of agents and of the environment server to each other.
        link |= {"to": [link["to"], SERVER], "channels": ["peer", "env"], "symmetric": True}
    mild = severity in ("calm", "mild")
    if random.random() < 0.6:
        mean = random.uniform(0.005, 0.05) if mild or random.random() < 0.5 else random.uniform(0.05, 1.2)
        link["delay"] = {"dist": random.choice(["constant", "exponential"]), "mean": _seconds(mean), "max": _seconds(3.0 * mean)}
    if severity != "calm":
        most = 0.1 if severity == "mild" else random.choice([0.3, 0.9])
        link["loss"] = round(random.uniform(0.02, most), 2)
    if random.random() < 0.4:
        link["duplicate"] = {"p": round(random.uniform(0.05, 0.6), 2), "gap": _seconds(random.choice([0.005, 0.05, 0.3, 1.5]))}
    if random.random() < 0.3:
        link["reorder"] = {"p": round(random.uniform(0.05, 0.5), 2), "hold": _seconds(random.choice([0.02, 0.05]))}
    if not {"delay", "loss", "duplicate", "reorder"} & link.keys():
        link["duplicate"] = {"p": 0.3}
    return link


def _seconds(value: float) -> str:
    return f"{round(1000 * value)}ms"
