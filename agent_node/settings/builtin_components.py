"""Registration of the components in this package: every component folder registers its settings when they are imported."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

ROOMS = ("learners", "world_models", "goals", "intrinsic", "exchange")
"""packages whose subpackages are component folders"""


def register_builtin_components() -> None:
    """Import `agent_node.ROOM.NAME.settings` of every component folder. These modules are free of torch."""
    for room in ROOMS:
        package = import_module(f"agent_node.{room}")
        for module in iter_modules(package.__path__):
            name = f"{package.__name__}.{module.name}.settings"
            if module.ispkg and find_spec(name) is not None:
                import_module(name)
