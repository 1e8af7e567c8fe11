"""Registration of the components in this package: modules named `settings` register their components when they are imported."""

from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages

from protocols.runtime.component_registry import declare_contract

ROOMS = ("learners", "world_models", "goals", "intrinsic", "exchange")
"""packages of components"""

CONTRACTS = (
    ("learner", "Learner", ""),
    ("world_model", "AdditiveWorldModel", "additive_statistics"),
    ("world_model", "WorldModel", ""),
    ("goals", "GoalSource", ""),
    ("teacher", "Teacher", ""),
    ("curiosity", "IntrinsicReward", ""),
    ("replay_reward", "ReplayReward", ""),
    ("imitation", "Imitation", ""),
    ("negotiation", "EpisodeNegotiation", "episode_goals"),
    ("negotiation", "Component", ""),
    ("exchange", "Component", ""),
)
"""room, class in `agent_node.contracts`, and the capability with which it is required ("": always)"""
for _room, _contract, _capability in CONTRACTS:
    declare_contract(_room, f"agent_node.contracts:{_contract}", _capability)


def register_builtin_components() -> None:
    """Import every module named `settings` within the rooms. These modules are free of torch."""
    for room in ROOMS:
        package = import_module(f"agent_node.{room}")
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith(".settings"):
                import_module(module.name)
