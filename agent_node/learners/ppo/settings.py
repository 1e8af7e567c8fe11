"""Settings of ppo."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.learners.settings import Network, RolloutSettings
from agent_node.settings.value_types import Positive, Widths
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Probability


class PPOSettings(RolloutSettings):
    """Proximal policy optimisation (Schulman et al., arXiv 1707.06347), with a policy and a value network (tanh)."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    capabilities: ClassVar[tuple[str, ...]] = ("rollout", "discrete", "continuous", "values")
    architecture: ClassVar[tuple[str, ...]] = ("hidden", "network")
    kind: Literal["ppo"] = "ppo"
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value"""
    hidden: Widths = [64, 64]
    """widths of the hidden layers of both networks"""
    max_grad_norm: Positive = 0.5
    """gradients of each network are scaled down to this norm"""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 8
    """how often a rollout is gone through"""
    minibatch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 2048
    """transitions in one gradient update, about: a rollout is cut into equal parts"""
    gae_lambda: Probability = 0.95
    """lambda: weight of the next step's error in an advantage, beside the discount"""
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """ratios of new to old probability gain nothing beyond 1 - clip and 1 + clip"""
    entropy_coef: Annotated[float, Field(ge=0, le=10)] = 0.02
    """weight of the policy's entropy in its objective"""
    kl_coef: Annotated[float, Field(ge=0, le=100)] = 0.0
    """beta: weight of the divergence of the new policy from the old one at the start, adapted after every rollout; 0: none"""
    adaptive_kl_target: Positive = 0.01
    """nats: where the adapted beta is to keep the divergence"""
    target_kl: Positive | None = None
    """nats: a rollout is left as soon as a minibatch finds the policy further from what it was; null: all epochs are made"""
    decay_steps: Annotated[int, Field(ge=1)] | None = None
    """own training steps within which the step size falls to 0, linearly; null: it stays"""
    evaluation: Literal["sample", "mode"] = "sample"
    """actions in evaluations: drawn from the policy, as published, or the likeliest ones"""
    network: Network = "auto"
    """mlp: tanh layers; grid: convolutions over the cells of a grid, and `hidden` behind them (ReLU); auto: grid where a grid is seen"""

    @property
    def needs_grid(self) -> bool:
        """Whether `network` is `grid`."""
        return self.network == "grid"


register("learner", "ppo", PPOSettings, "agent_node.learners.ppo.ppo:PPO")
