"""Where learners and world models compute.

Parameters and random numbers are drawn on the CPU and moved, so that agents of one seed begin equal wherever they compute. Data sent to
others, kept in checkpoints and handed to the rest of the agent is on the CPU; a checkpoint goes on on any device.
"""

from __future__ import annotations

import torch

from agent_node.settings.agent import AgentSettings
from agent_node.settings.value_types import Device
from protocols.runtime.errors import ConfigurationError

CPU = torch.device("cpu")


def device_of(wanted: Device, key: str) -> torch.device:
    """cpu; cuda: the first GPU that torch sees; auto: that one, or the CPU without a GPU. `ConfigurationError` naming `key` where
    cuda is wanted and torch sees no GPU. Torch is asked for GPUs only where one may be used."""
    if wanted == "cpu":
        return CPU
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if wanted == "auto":
        return CPU
    text = f"{key} is cuda, and torch {torch.__version__} sees no GPU on this machine"
    raise ConfigurationError(f"{text}; write auto or cpu, or install a torch that is built for the GPU (see orchestrate doctor)")


def check_devices(settings: AgentSettings) -> None:
    """`ConfigurationError` where an agent can't compute on the device of its settings."""
    device_of(settings.learner.device, "agents.learner.device")
    if settings.world_model is not None:
        device_of(settings.world_model.device, "agents.world_model.device")
