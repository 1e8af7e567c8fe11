"""Processes that execute the same task in several modes by turns, by orders over pipes, so that all modes have the same load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

PATIENCE = 60.0
"""seconds for an answer"""


@dataclass
class Spent:
    """By way, one value per repeat: rounds per second, and CPU ms per round of all processes together."""

    rate: dict[str, list[float]]
    cpu: dict[str, list[float]]


@contextmanager
def running(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Started here, and gone afterwards, whatever happens."""
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            process.join(5.0)
            if process.is_alive():
                process.kill()
                process.join()


def receive(pipe: Connection) -> Any:
    """What the process at the other end sends; `TimeoutError` if it sends nothing."""
    if not pipe.poll(PATIENCE):
        raise TimeoutError("a process does not answer")
    return pipe.recv()


def introduce(pipes: Sequence[Connection]) -> None:
    """Send all answers to all processes."""
    said = [receive(pipe) for pipe in pipes]
    for pipe in pipes:
        pipe.send(said)


def in_turns(pipes: Sequence[Connection], ways: Callable[[int], Sequence[str]], repeats: int, rounds: int) -> Spent:
    """Order (mode, rounds) of all, in the order of `ways(repeat)`; each answers with its wall and CPU seconds. Then they receive the
    order to end (None). The first repeat, which connects and warms up, does not count."""
    names = ways(1)
    spent = Spent({way: [] for way in names}, {way: [] for way in names})
    for repeat in range(repeats + 1):
        for way in ways(repeat):
            for pipe in pipes:
                pipe.send((way, rounds))
            answers = [receive(pipe) for pipe in pipes]
            if repeat:
                spent.rate[way].append(rounds / max(wall for wall, _ in answers))
                spent.cpu[way].append(1000 * sum(used for _, used in answers) / rounds)
    for pipe in pipes:
        pipe.send(None)
    return spent
