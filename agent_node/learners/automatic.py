"""Learner `auto`: a place in a configuration that is filled when the configuration is loaded."""

from __future__ import annotations

from typing import Any, NoReturn

from protocols.runtime.errors import ConfigurationError


def automatic(*arguments: Any) -> NoReturn:
    """`ConfigurationError`: the learner depends on the environment, which is known where a configuration is loaded."""
    text = "agents.learner.kind is auto, which is replaced when a configuration is loaded (murmuration.load)"
    raise ConfigurationError(f"{text}; name a learner")
