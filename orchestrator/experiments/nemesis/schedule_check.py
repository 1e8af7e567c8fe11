"""All promises under the faults of one configuration."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator.config.configuration import Configuration
from orchestrator.experiments.nemesis.peer_promises import PeerWorld
from orchestrator.experiments.nemesis.promises import BrokenPromise
from orchestrator.experiments.nemesis.schedule_draws import Entry
from orchestrator.experiments.nemesis.stepping_world import SteppingWorld
from protocols.faults.settings import FaultsSettings


def with_schedule(configuration: Configuration, seed: int, entries: Sequence[Entry]) -> Configuration:
    """The configuration with this seed and these faults alone, drawn from the same seed."""
    faults = FaultsSettings.model_validate({"seed": seed, "heal_before_end": 0.0, "events": list(entries)})
    return configuration.model_copy(update={"seed": seed, "faults": faults})


def broken_promise(configuration: Configuration) -> BrokenPromise | None:
    """The first promise that is broken under the faults of a configuration: among peers, then in stepping."""
    with _collected_at_the_end():
        for world in (PeerWorld, SteppingWorld):
            try:
                world(configuration).run()
            except BrokenPromise as broken:
                return broken.with_traceback(None)
    return None


@contextmanager
def _collected_at_the_end() -> Iterator[None]:
    """Without the garbage collector, which takes a third of the time of a simulation."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
