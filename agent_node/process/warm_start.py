"""Imported by the warm parent of all nodes: what every agent loads sooner or later, loaded once and shared.

A page that a child writes to is its own, and importing writes to many; so what is imported here costs the machine once instead of once
per agent. `torch._dynamo` (70 MB) is not among it: torch's own optimisers load it, the built-in learners don't use them.
"""

from __future__ import annotations

import safetensors.torch  # noqa: F401 - checkpoints
import torch

from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.runtime.component_registry import kinds
from protocols.wire.message_registry import schema_hash

# Used once here, so that what libraries build at first use is shared too.
torch.manual_seed(0)
schema_hash()
AgentSettings.model_validate({"learner": {"kind": "double_dqn"}, "world_model": {"kind": "ensemble"}})
ExchangeSettings.model_validate({})
kinds("learner")
