"""Exceptions of an environment before its first step is over, which a restart would only repeat."""

from __future__ import annotations

import traceback

from protocols.runtime.errors import EnvironmentFailure


def first_step_failure(environment_id: str, error: Exception) -> EnvironmentFailure:
    """The failure that ends the run: type, text and place of the exception, and the command that plays the environment alone."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"before its first step was over the environment raised {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
    return EnvironmentFailure(f"{what}; orchestrate check-env {environment_id} plays the environment alone and names broken rules")
