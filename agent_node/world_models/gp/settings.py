"""World models that are Gaussian processes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from agent_node.settings.value_types import Interval, Positive
from agent_node.world_models.settings import WorldModelSettings
from protocols.runtime.component_registry import register

Numbers = Annotated[list[Positive], Field(min_length=1)]
Bounds = Annotated[list[Interval], Field(min_length=1)]


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
    """Gaussian process in features that all agents share, so that their statistics add up to the model of all data."""

    capabilities: ClassVar[tuple[str, ...]] = ("vector_observations", "additive_statistics", "sampleable", "plan_aware")
    kind: Literal["gp"] = "gp"
    basis: Literal["hsgp", "fourier", "inducing"] = "hsgp"
    """hsgp: eigenfunctions of a box around the bounds, whose statistics stay valid when length-scales are learnt; fourier: random Fourier
    features; inducing: whitened inducing points. The latter two keep the given length-scales, and learn variances only"""
    features: Annotated[int, Field(ge=1, le=4096)] = 256
    """m, besides those of the linear part; what is exchanged grows with its square. fourier: an even number"""
    half_width: Annotated[float, Field(ge=1, le=100)] = 1.4
    """of the box of the observation, in units of half the width of its bounds; keep it a length-scale beyond them"""
    action_half_width: Annotated[float, Field(ge=1, le=100)] = 2.6
    """of the box of the action, likewise"""
    basis_seed: Annotated[int, Field(ge=0)] = 0
    """fourier, inducing: what frequencies or points are drawn from; the same at all agents"""
    personal: bool = False
    """whether each agent has an effect of its own action that the others don't share (gains of its actuators); the noise variance is then
    not learnt"""
    personal_deviation: Positive = 0.1
    """tau: prior standard deviation of such an effect, in units of change_scale for an action at its bound"""
    refresh: Annotated[int, Field(ge=1)] = 250
    """own transitions after which the statistics are worth sharing and the model is computed anew"""
    half_life: Annotated[int, Field(ge=1)] | None = None
    """own transitions after which an older one counts half, where the dynamics drift; null: nothing is forgotten"""

    @field_validator("features")
    @classmethod
    def _pairs(cls, features: int, info: ValidationInfo) -> int:
        if info.data.get("basis") == "fourier" and features % 2:
            raise ValueError(f"random Fourier features come in pairs, and {features} is odd; write {features + 1}")
        return features

    @property
    def shrinking_statistics(self) -> str:
        """`half_life`, where it is given."""
        return "" if self.half_life is None else "half_life"


class ExactGPSettings(GaussianProcessSettings):
    """Exact Gaussian process on a random part of the own transitions, for agents that share no model."""

    kind: Literal["exact_gp"] = "exact_gp"
    batch_size: Annotated[int, Field(ge=2, le=5000)] = 500
    """transitions it rests on, drawn anew at each fit; time grows with the cube"""


register("world_model", "gp", GPSettings, "agent_node.world_models.gp.gp_model:GPModel")
register("world_model", "exact_gp", ExactGPSettings, "agent_node.world_models.gp.exact_gp:ExactGP")
