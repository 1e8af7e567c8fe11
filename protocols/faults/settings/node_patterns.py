"""Who: names of nodes, patterns of them, and names of rules and events."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from protocols.faults.settings.sparse_settings import AlsoAccepts

AUTO = "auto"
"""as a target: one agent, drawn from the fault seed"""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Glob = Annotated[str, Field(min_length=1, max_length=64)]
"""A node's name, or a pattern of names: `agent-*`, `agent-[0-3]`."""
Globs = Annotated[
    list[Glob], Field(min_length=1), BeforeValidator(_listed), AlsoAccepts({"type": "string", "minLength": 1, "maxLength": 64})
]
"""One or several of them."""
FaultName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]
"""The name of a rule or event, unique in the configuration: lower-case letters, digits, `_`, `-`."""
