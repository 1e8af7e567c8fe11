"""Exceptions of an environment before its first step is over, which a restart would only repeat."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from protocols.runtime.errors import EnvironmentFailure


class FirstStep:
    """Turns an exception of an environment into the failure that ends the run, until `over` is set."""

    def __init__(self, environment_id: str) -> None:
        self.over = False
        self._id = environment_id

    @contextmanager
    def playing(self, steps: int) -> Iterator[None]:
        """A reset or step of the environment. `EnvironmentFailure` names type, text and place of the exception, and the command that plays
        the environment alone; with `steps` of training before, the exception itself is raised."""
        try:
            yield
        except EnvironmentFailure:
            raise
        except Exception as error:
            if self.over or steps:
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            cause = f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
            cure = f"orchestrate check-env {self._id} plays the environment alone and names broken rules"
            raise EnvironmentFailure(f"before its first step was over the environment raised {cause}; {cure}") from error
