"""All promises under the faults of one configuration."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

from orchestrator.config.configuration import Configuration
from orchestrator.experiments.nemesis.peer_promises import PeerWorld
from orchestrator.experiments.nemesis.promises import BrokenPromise
from orchestrator.experiments.nemesis.schedule_draws import Entry
from orchestrator.experiments.nemesis.stepping_world import SteppingWorld
from protocols.faults.settings import FaultsSettings
from protocols.runtime.errors import MurmurationError


def with_schedule(configuration: Configuration, seed: int, entries: Sequence[Entry]) -> Configuration:
    """The configuration with this seed and these faults alone, drawn from the same seed."""
    faults = FaultsSettings.model_validate({"seed": seed, "heal_before_end": 0.0, "events": list(entries)})
    return configuration.model_copy(update={"seed": seed, "faults": faults})


def broken_promise(configuration: Configuration) -> BrokenPromise | None:
    """The first promise that is broken under the faults of a configuration: among peers, then in stepping. An exception of a state machine
    breaks one too: `exceptions.KeyError`."""
    with _collected_at_the_end():
        for kind in (PeerWorld, SteppingWorld):
            world = kind(configuration)
            try:
                world.run()
            except BrokenPromise as broken:
                return broken.with_traceback(None)
            except MurmurationError:  # of the user
                raise
            except Exception as error:
                return _raised(error, world.network.now)
    return None


def _raised(error: Exception, now: float) -> BrokenPromise:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{error} in {frame.name} of {PurePath(frame.filename).name}:{frame.lineno}"
    return BrokenPromise(f"exceptions.{type(error).__name__}", text, now)


@contextmanager
def _collected_at_the_end() -> Iterator[None]:
    """Without the garbage collector, which takes a third of the time of a simulation."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
