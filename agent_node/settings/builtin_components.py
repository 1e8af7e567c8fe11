"""Registration of the components in this package: every component folder registers its settings when they are imported."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from protocols.runtime.component_registry import declare_contract

ROOMS = ("learners", "world_models", "goals", "intrinsic", "exchange")
"""packages whose subpackages are component folders"""

CONTRACTS = (
    ("learner", "Learner", ""),
    ("world_model", "AdditiveWorldModel", "additive_statistics"),
    ("world_model", "WorldModel", ""),
    ("goals", "GoalSource", ""),
    ("teacher", "Teacher", ""),
    ("curiosity", "IntrinsicReward", ""),
    ("negotiation", "EpisodeNegotiation", "episode_goals"),
    ("negotiation", "Component", ""),
    ("exchange", "Component", ""),
)
"""room, class in `agent_node.contracts`, and the capability with which it is required ("": always)"""
for _room, _contract, _capability in CONTRACTS:
    declare_contract(_room, f"agent_node.contracts:{_contract}", _capability)


def register_builtin_components() -> None:
    """Import `agent_node.ROOM.NAME.settings` of every component folder. These modules are free of torch."""
    for room in ROOMS:
        package = import_module(f"agent_node.{room}")
        for module in iter_modules(package.__path__):
            name = f"{package.__name__}.{module.name}.settings"
            if module.ispkg and find_spec(name) is not None:
                import_module(name)
