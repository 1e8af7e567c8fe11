"""Search of seeds for a schedule that breaks a promise, its smallest form, and the commands that repeat it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.command_line_overrides import apply, parse
from orchestrator.config.parsing.yaml_tree import Location, Map, Node, plain
from orchestrator.config.resolved_configuration import flow
from orchestrator.experiments.nemesis.promises import BrokenPromise
from orchestrator.experiments.nemesis.schedule_check import broken_promise, with_schedule
from orchestrator.experiments.nemesis.schedule_draws import FAULTY, LONGEST, Entry, drawn_schedule
from orchestrator.experiments.nemesis.schedule_shrinking import Shrinking
from protocols.faults.fault_checks import unsupported_under_logical_clock

CHUNK = 10
"""seeds that a process searches before it reports"""
REPLAYED = 20.0
"""seconds of training of a replay by processes, after the last fault"""


@dataclass(frozen=True)
class Failure:
    """A seed under which a promise is broken, and its smallest schedule."""

    seed: int
    promise: str
    text: str
    """what is broken, by the smallest schedule"""
    drawn: int
    """entries of the drawn schedule"""
    schedule: list[Entry]
    trials: int
    """simulations for shrinking"""


@dataclass
class SearchOutcome:
    """What a search has found."""

    simulated: int = 0
    """seeds that were simulated"""
    seconds: float = 0.0
    processor: float = 0.0
    """seconds of processor time, of all processes"""
    failure: Failure | None = None
    repeats: dict[str, str] = field(default_factory=dict)
    """`simulate` and `up`: the command that repeats the failure, or why none does"""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        failure = vars(self.failure) if self.failure is not None else None
        return {**vars(self), "failure": failure}


def first_failure(configuration: Configuration, seeds: Sequence[int]) -> tuple[int, int | None, float]:
    """How many of these seeds were simulated, the first that fails, and the seconds of processor time."""
    began, names = time.process_time(), configuration.agent_names()
    for number, seed in enumerate(seeds, start=1):
        if broken_promise(with_schedule(configuration, seed, drawn_schedule(seed, names))) is not None:
            return number, seed, time.process_time() - began
    return len(seeds), None, time.process_time() - began


def shrunk(configuration: Configuration, seed: int) -> Failure:
    """The smallest schedule that breaks the same promise as the schedule of a seed that fails."""
    entries = drawn_schedule(seed, configuration.agent_names())
    first = broken_promise(with_schedule(configuration, seed, entries))
    if first is None:
        raise ValueError(f"no promise is broken under seed {seed}")
    newest: list[BrokenPromise] = [first]

    def fails(trial: Sequence[Entry]) -> bool:
        broken = broken_promise(with_schedule(configuration, seed, trial))
        if broken is None or broken.promise != first.promise:
            return False
        newest.append(broken)
        return True

    shrinking = Shrinking(fails)
    smallest = shrinking.smallest(entries)
    return Failure(seed, first.promise, str(newest[-1]), len(entries), smallest, shrinking.trials)


def search(
    configuration: Configuration,
    count: int,
    seconds: float,
    jobs: int = 1,
    first: int = 0,
    report: Callable[[SearchOutcome], None] = lambda outcome: None,
) -> SearchOutcome:
    """Simulate the drawn schedules of `count` seeds from `first` on, for `seconds` at most, in `jobs` processes, until one fails."""
    began, outcome, failed = time.monotonic(), SearchOutcome(), []
    for number, seed, processor in _chunks(configuration, range(first, first + count), jobs, began + seconds):
        outcome.simulated += number
        outcome.processor += processor
        outcome.seconds = time.monotonic() - began
        if seed is not None:
            failed.append(seed)
        elif not failed:
            report(outcome)
    if failed:
        outcome.failure = shrunk(configuration, min(failed))
    outcome.seconds = time.monotonic() - began
    return outcome


def _chunks(configuration: Configuration, seeds: range, jobs: int, deadline: float) -> Iterator[tuple[int, int | None, float]]:
    """What `first_failure` returns for each chunk of seeds; ends after the first failure or at the deadline, after running chunks."""
    chunks = iter([seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)])
    if jobs == 1:
        for chunk in chunks:
            found = first_failure(configuration, chunk)
            yield found
            if found[1] is not None or time.monotonic() >= deadline:
                return
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(first_failure, configuration, chunk) for chunk, _ in zip(chunks, range(jobs), strict=False)}
        over = False
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                found = future.result()
                yield found
                over |= found[1] is not None or time.monotonic() >= deadline
                if not over and (following := next(chunks, None)) is not None:
                    running.add(pool.submit(first_failure, configuration, following))


# --- repeating it -------------------------------------------------------------------------------------------------------------------------


def repeats(failure: Failure, configuration: Configuration, given: Path, overrides: Sequence[str]) -> dict[str, str]:
    """The command that simulates the smallest schedule, and the one that runs it with real processes (or why it cannot be run)."""
    faults = {"seed": failure.seed, "heal_before_end": 0.0, "events": failure.schedule}
    words = [str(given), *overrides, f"seed={failure.seed}", f"faults={flow(faults)}"]
    simulate = shlex.join(["orchestrate", "simulate", *words, "--check"])
    settings = with_schedule(configuration, failure.seed, failure.schedule).faults
    unsupported = list(unsupported_under_logical_clock(settings, configuration.network.links))
    if unsupported:
        return {"simulate": simulate, "up": f"not under clock: logical: {unsupported[0].text}"}
    until = f"until={{time: {FAULTY + LONGEST + REPLAYED:.0f}s}}"
    return {"simulate": simulate, "up": shlex.join(["orchestrate", "up", *words, "clock=logical", until])}


def regression_text(failure: Failure, base: Path, overrides: Sequence[str]) -> str:
    """A configuration with the seed and the smallest schedule: `orchestrate simulate FILE --check` repeats the failure while the mistake is
    there. `base`: the file that it extends, relative to its folder."""
    tree: Node = Map(Location("argument"))
    for number, argument in enumerate(overrides, start=1):
        tree = apply(tree, parse(argument, number), Configuration)
    values: dict[str, Any] = {**plain(tree), "seed": failure.seed}
    lines = [f"# {failure.text}", f"extends: {flow(str(base))}"]
    lines += [f"{key}: {flow(value)}" for key, value in values.items() if key != "faults"]
    lines += ["faults:", f"  seed: {failure.seed}", "  heal_before_end: 0", "  links: []", "  traces: []", "  random: null"]
    lines += ["  events:" if failure.schedule else "  events: []"]
    return "\n".join([*lines, *(f"    - {flow(entry)}" for entry in failure.schedule)]) + "\n"
