"""World models, the transitions that are imagined with them, and optimism: rewards for model uncertainty."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent_node.settings.value_types import Device, Interval, NotNegative, Positive, Widths
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import ComponentSettings, Probability, Settings

Numbers = Annotated[list[Positive], Field(min_length=1)]
Bounds = Annotated[list[Interval], Field(min_length=1)]


class ImaginationSettings(Settings):
    """Imagined transitions that are kept for a while, made anew whenever the model has learnt."""

    every: Annotated[int, Field(ge=1)] = 250
    """own steps between two refreshes; models that count themselves when they are due (gp) take no notice of it"""
    starts: Annotated[int, Field(ge=1, le=65536)] = 256
    """states from which each refresh imagines"""
    uniform_start_ratio: Probability = 0.0
    """share of these that are drawn uniformly within the bounds of observations, where the environment has bounds; the others are states
    that the agent has observed. A model of the transitions of all agents covers more than the agent itself has"""
    horizon: tuple[Annotated[int, Field(ge=1, le=1000)], Annotated[int, Field(ge=1, le=1000)]] = (2, 5)
    """steps of a trajectory, at first and at last"""
    horizon_steps: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (3000, 10_000)
    """own steps between which the horizon grows from its first to its last value"""
    kept_refreshes: Annotated[int, Field(ge=1, le=1000)] = 20
    """refreshes whose transitions are kept"""
    reward: Literal["model", "known", "learned"] = "model"
    """rewards of imagined transitions. model: those that the world model predicts; known: those of the environment's map of rewards, where
    it has one; learned: means over the cells of a grid"""
    reward_cell_size: Positive = 0.5
    """learned: side of a cell, in units of the observation"""
    rewarded_ratio: Probability = 0.0
    """share of the imagined transitions in a batch that earn more than nothing, where there are any: what pays in a small spot only is
    hardly ever met otherwise, and smoothed away"""
    max_uncertainty: Positive | None = None
    """|sigma| of a prediction beyond which the rest of a trajectory teaches nothing to a policy that exploits; null: it may be any"""


class WorldModelSettings(ComponentSettings):
    """Settings of every world model.

    Capabilities: `rewards` (predicts rewards and ends, besides observations); `vector_observations` (predicts vectors only, no images);
    `additive_statistics` (rests on sums over its data, which `exchange.statistics` adds up: `contracts.AdditiveWorldModel`); `sampleable`
    (draws functions from its posterior: `contracts.WorldModel.draw`); `plan_aware` (uses the plans of neighbours).
    """

    groups: ClassVar[tuple[str, ...]] = ("world_model",)
    imagined_ratio: Probability = 0.2
    """share of imagined transitions in the learner's batches; 0 trains the model without using it"""
    horizon: Annotated[int, Field(ge=1, le=100)] = 1
    """steps that an imagined trajectory follows the model"""
    updates_per_tick: Annotated[float, Field(ge=0, le=64)] = 0.25
    """fits for each step message"""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """share of episodes kept from training, on which the prediction error is reported"""
    device: Device = "cpu"
    """where it computes: cpu, cuda (a GPU), auto (a GPU where there is one)"""
    imagination: ImaginationSettings | None = None
    """imagined transitions are made after each refresh of the model and kept for a while; null: made for each few batches, by `horizon`"""

    @property
    def needs_bounds(self) -> bool:
        """Whether the model needs the bounds of all observed numbers from the environment."""
        return False

    @property
    def shrinking_statistics(self) -> str:
        """The key that makes statistics decrease over time, "" where they only grow: exchanged statistics must only grow."""
        return ""


class EnsembleSettings(WorldModelSettings):
    """Ensemble of networks that predict the change of the observation, the reward, the end, and what is touched."""

    capabilities: ClassVar[tuple[str, ...]] = ("rewards", "sampleable")
    architecture: ClassVar[tuple[str, ...]] = ("hidden", "members")
    kind: Literal["ensemble"] = "ensemble"
    members: Annotated[int, Field(ge=1, le=64)] = 5
    """networks, each with its own start and its own batches"""
    hidden: Widths = [128, 128]
    """widths of the hidden layers"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    """step size of Adam"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    """transitions in one fit, per member"""
    learning_starts: Annotated[int, Field(ge=0)] = 1000
    """fits before the model is trusted to imagine"""


class GaussianProcessSettings(WorldModelSettings):
    """What the Gaussian processes have in common. They see the newest observation (angles as sine and cosine) and the action, scaled to
    [-1, 1] by their bounds, and predict the change of the observation; neither reward nor end. Lists hold one number for all components of
    the observation (or of the action), or one for each."""

    capabilities: ClassVar[tuple[str, ...]] = ("vector_observations",)
    groups: ClassVar[tuple[str, ...]] = ()
    updates_per_tick: Annotated[float, Field(ge=0, le=64)] = 0.004
    """fits for each step message"""
    bounds: Bounds | None = None
    """least and largest value of the observation's components; those in radians need none, and actions have their own. null: those of
    the environment"""
    clip_to_bounds: bool = False
    """whether predicted observations are kept within the bounds"""
    lengthscales: Numbers = [0.4]
    """of the observation, in units of half the width of its bounds: over so much the change varies by its own size"""
    action_lengthscales: Numbers = [1.2]
    """of the action, likewise"""
    signal_variance: Positive = 1.0
    """prior variance of the change, in squared units of change_scale"""
    linear_variance: Annotated[float, Field(ge=0)] = 1.0
    """prior variance of the coefficients of a linear part (constant and slope for each input); 0: none"""
    noise_variance: Annotated[float, Field(ge=1e-4, le=100)] = 0.01
    """of the observed change, in squared units of change_scale"""
    change_scale: Numbers = [1.0]
    """how much the observation's components change in one step, about; changes are divided by it"""
    lengthscale_range: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(ge=1)]] = (0.25, 10.0)
    """factors within which the length-scales are learnt"""
    signal_range: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(ge=1)]] = (0.01, 100.0)
    """factors within which the signal variance is learnt. Agents that have hardly moved yet would else learn that nothing ever moves, and
    lose all curiosity with the variance"""
    iterations: Annotated[int, Field(ge=1, le=1000)] = 20
    """steps of L-BFGS in which the kernel parameters are learnt"""
    optimise_every: Annotated[int, Field(ge=0, le=100_000)] = 4
    """refreshes of the model between two in which the kernel parameters are learnt, once it rests on `learning_starts` transitions; 0:
    they stay as given"""
    learning_starts: Annotated[int, Field(ge=1)] = 500
    """transitions that the model must rest on before it is trusted to imagine"""

    @property
    def needs_bounds(self) -> bool:
        """Whether no `bounds` are given."""
        return self.bounds is None


class GPSettings(GaussianProcessSettings):
    """Gaussian process in features that all agents share (eigenfunctions of a box around the bounds, whose statistics stay valid when
    length-scales are learnt), so that their statistics add up to the model of all data."""

    capabilities: ClassVar[tuple[str, ...]] = ("vector_observations", "additive_statistics", "sampleable", "plan_aware")
    kind: Literal["gp"] = "gp"
    features: Annotated[int, Field(ge=1, le=4096)] = 256
    """m, besides those of the linear part; what is exchanged grows with its square"""
    half_width: Annotated[float, Field(ge=1, le=100)] = 1.4
    """of the box of the observation, in units of half the width of its bounds; keep it a length-scale beyond them"""
    action_half_width: Annotated[float, Field(ge=1, le=100)] = 2.6
    """of the box of the action, likewise"""
    personal: bool = False
    """whether each agent has an effect of its own action that the others don't share (gains of its actuators); the noise variance is then
    not learnt"""
    personal_deviation: Positive = 0.1
    """tau: prior standard deviation of such an effect, in units of change_scale for an action at its bound"""
    refresh: Annotated[int, Field(ge=1)] = 250
    """own transitions after which the statistics are worth sharing and the model is computed anew"""
    half_life: Annotated[int, Field(ge=1)] | None = None
    """own transitions after which an older one counts half, where the dynamics drift; null: nothing is forgotten"""

    @property
    def shrinking_statistics(self) -> str:
        """`half_life`, where it is given."""
        return "" if self.half_life is None else "half_life"


class ExactGPSettings(GaussianProcessSettings):
    """Exact Gaussian process on a random part of the own transitions, for agents that share no model."""

    kind: Literal["exact_gp"] = "exact_gp"
    batch_size: Annotated[int, Field(ge=2, le=5000)] = 500
    """transitions it rests on, drawn anew at each fit; time grows with the cube"""


class OptimismSettings(ComponentSettings):
    """Base of the settings of the room `optimism`: how the exploring policy uses the uncertainty of the world model."""

    requires: ClassVar[tuple[str, ...]] = ()
    """capabilities that the world model must have"""


class BonusSettings(OptimismSettings):
    """The policy that explores receives a bonus where the model is uncertain."""

    kind: Literal["bonus"] = "bonus"
    weight: Annotated[float, Field(ge=0)] = 0.05
    """lambda: reward for a unit of the model's epistemic standard deviation, in units of the observation"""
    reward_weight: NotNegative = 1.0
    """reward for a unit of the standard deviation of the reward itself, where that is learnt (`imagination.reward: learned`)"""
    anneal_steps: Annotated[int, Field(ge=1)] | None = None
    """own steps over which both weights fall linearly to 0; null: it stays"""
    agent_scale_range: tuple[NotNegative, NotNegative] = (1.0, 1.0)
    """each agent draws, once, a number from this range, by which its weights are multiplied: agents that share a model would all look at
    the same places"""


class HallucinationSettings(OptimismSettings):
    """The policy that explores chooses the next observation of imagination within the model's uncertainty."""

    kind: Literal["hallucination"] = "hallucination"
    beta: Positive = 1.0
    """largest distance from the mean, in standard deviations"""


class ThompsonSettings(OptimismSettings):
    """The policy that explores imagines with one function, drawn from the model at each of its refreshes."""

    requires: ClassVar[tuple[str, ...]] = ("sampleable",)
    kind: Literal["thompson"] = "thompson"


register("optimism", "thompson", ThompsonSettings, "agent_node.world_models.imagination.optimism:Thompson")
register("optimism", "bonus", BonusSettings, "agent_node.world_models.imagination.optimism:Bonus")
register("optimism", "hallucination", HallucinationSettings, "agent_node.world_models.imagination.optimism:Hallucination")
register("world_model", "ensemble", EnsembleSettings, "agent_node.world_models.ensemble:Ensemble")
register("world_model", "gp", GPSettings, "agent_node.world_models.gp.gp_model:GPModel")
register("world_model", "exact_gp", ExactGPSettings, "agent_node.world_models.gp.exact_gp:ExactGP")
