"""Configurations: read, joined from files, arguments and flags, checked whole before anything starts."""

from .checks import agent_settings
from .errors import Problem, Problems, counted, lines
from .loader import Loaded, load
from .machine import Machine
from .resolved import canonical_json, digest, resolved_yaml
from .schema import schema

__all__ = [
    "Loaded",
    "Machine",
    "Problem",
    "Problems",
    "agent_settings",
    "canonical_json",
    "counted",
    "digest",
    "lines",
    "load",
    "resolved_yaml",
    "schema",
]
