"""Cost of the link model: nanoseconds of processor time per `FaultyLinks.link_outcome` and per `FaultyLinks.progress`, best of five
repetitions.

python benchmarks/link_fates.py
"""

from __future__ import annotations

import timeit
from time import process_time
from typing import Any

from protocols.faults.fault_schedule import compile_schedule
from protocols.faults.link_effects.faulty_links import FaultyLinks
from protocols.faults.settings import FaultsSettings

AGENTS = [f"agent-{i}" for i in range(8)]
LOSS_AND_DELAY = {"loss": 0.1, "delay": {"dist": "lognormal", "mean": "50ms", "jitter": "20ms"}}
CASES: dict[str, dict[str, Any]] = {
    "no rule": {},
    "a rule for others": {"links": [{"id": "a", "from": "agent-7", "loss": 0.5}]},
    "a partition": {"events": [{"id": "a", "at": {"step": 0}, "partition": {"groups": [["agent-0"], ["agent-1"]]}}]},
    "loss": {"links": [{"id": "a", "loss": 0.1}]},
    "loss and delay": {"links": [{"id": "a", **LOSS_AND_DELAY}]},
    "two rules of loss and delay": {"links": [{"id": "a", **LOSS_AND_DELAY}, {"id": "b", **LOSS_AND_DELAY}]},
}
CALLS = 20_000


def best(call: Any) -> float:
    """Nanoseconds per call."""
    return min(timeit.repeat(call, number=CALLS, repeat=5, timer=process_time)) / CALLS * 1e9


def main() -> None:
    """Print the table."""
    for name, section in CASES.items():
        links = FaultyLinks(compile_schedule(FaultsSettings.model_validate(section), [], AGENTS), 1, "agent-0")
        link_outcome = links.link_outcome
        print(f"{name:<28} {best(lambda link_outcome=link_outcome: link_outcome('agent-1', 'peer', 'average', 7, 1000, 0.0)):8.0f} ns")
    progress = links.progress
    print(f"progress, nothing due {'':<18} {best(lambda: progress(1.0, 5, 3)):8.0f} ns")


if __name__ == "__main__":
    main()
