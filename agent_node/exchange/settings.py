"""Settings of the exchanges: what travels over the edges between agents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from agent_node.settings.value_types import NotNegative, Positive
from protocols.averaging.rule_settings import ROOM, SHARED, AveragingRuleSettings, CompressionSettings, rule_settings
from protocols.runtime.component_registry import RegisteredKind, register
from protocols.runtime.settings_types import ComponentSettings, Duration, Period, Probability, Settings

Strategy = Literal["own_individual", "future", "final", "episode", "joint", "peer_goal"]
Group = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""a parameter group, by the name that its component gives it"""


class NegotiationSettings(ComponentSettings):
    """Settings of every negotiation.

    Capabilities: `episode_goals` (the goals of the environment are agreed on before an episode) or `teacher_goals` (goals that teachers
    propose are exchanged during an episode).
    """

    capabilities: ClassVar[tuple[str, ...]] = ("episode_goals",)
    deadline: Annotated[Duration, Field(gt=0)] = 1.0
    """after it each member draws a goal of its own, and the episode does not count as negotiated"""

    def advice(self, goals: int) -> Iterator[tuple[str, str]]:
        """(key, text) of each value that is allowed and of little use in an environment with so many goals."""
        yield from ()


class CoordinationGameSettings(NegotiationSettings):
    """The leader draws a goal and sends one integer; the follower reads it by its own table (Nisioti et al., arXiv 2211.06082)."""

    groups: ClassVar[tuple[str, ...]] = ("convention",)
    architecture: ClassVar[tuple[str, ...]] = ("messages",)
    kind: Literal["coordination_game"] = "coordination_game"
    messages: Annotated[int, Field(ge=1, le=65536)] = 30
    """vocabulary size; at least 1.4 times the number of goals learns fastest; 1: a message without information, for comparison"""
    inverse_temperature: Positive = 30.0
    """kappa: both choices are drawn with probability proportional to exp(kappa * table value)"""
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.1
    """alpha: how far a table value moves toward the episode's reward"""
    update: Literal["inhibition", "forgetting", "visited_cell"] = "inhibition"
    """inhibition (rule E): after a success other cells of the same row and column shrink by 1 - alpha; forgetting (rule A, as published):
    once every `batch` episodes, many times over, all cells move toward their mean reward in a part of the batch, or toward 0 where it has
    none; visited_cell (rule D): only the used cell moves"""
    batch: Annotated[int, Field(ge=1, le=1_000_000)] = 240
    """forgetting: negotiated episodes between two updates of the table; more goals need more"""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 30
    """forgetting: how often an update goes through the batch"""
    parts: Annotated[int, Field(ge=1, le=1000)] = 6
    """forgetting: random parts of equal size that each time it is cut into; the table moves after every part"""

    def advice(self, goals: int) -> Iterator[tuple[str, str]]:
        """Small vocabularies, and keys that `update` does not use."""
        if self.messages < 1.4 * goals:
            fewer = f"fewer than the {goals} goals" if self.messages < goals else f"less than 1.4 times the {goals} goals"
            yield "messages", f"{self.messages} is {fewer}, and learns slowly; write {-(-14 * goals // 10)} or more"
        for key in ("batch", "epochs", "parts"):
            if self.update != "forgetting" and getattr(self, key) != type(self).model_fields[key].default:
                yield key, f"is read only with update: forgetting, and update is {self.update}"
        if self.update == "forgetting" and self.parts > self.batch:
            yield "parts", f"a batch of {self.batch} episodes can't be cut into {self.parts} parts; write {self.batch} or fewer"


class ContractNetSettings(NegotiationSettings):
    """Neighbours bid for the goals that an agent's teacher proposes, and exchange their own for them (Smith 1980)."""

    capabilities: ClassVar[tuple[str, ...]] = ("teacher_goals",)
    kind: Literal["contract_net"] = "contract_net"
    deadline: Annotated[Duration, Field(gt=0)] = 0.2
    """how long bids, and the answer to an award, are waited for; agents pursue their own goals meanwhile"""
    margin: NotNegative = 0.0
    """two goals are exchanged where that raises the sum of the returns that the two policies expect by more than this"""


class HindsightSettings(Settings):
    """Traces after the episode, and what is relearnt from them."""

    strategies: Annotated[list[Strategy], Field(min_length=1)] = ["future", "joint", "peer_goal"]
    """own_individual: individual goals its own body reached; future: any goal reached later in the episode; final: what was reached last;
    episode: any goal reached, from the steps before it first was; joint: cooperative goals that both bodies reached together; peer_goal:
    the goal that the partner pursued, where it was reached"""
    share: Probability = 0.6
    """share of the learner's transitions that are relabelled"""
    deadline: Annotated[Duration, Field(gt=0)] = 5.0
    """how long an episode waits for its partner's trace; without it only own_individual applies"""

    @model_validator(mode="after")
    def _distinct(self) -> HindsightSettings:
        if len(set(self.strategies)) != len(self.strategies):
            raise ValueError("a strategy is listed twice")
        return self


class ExperienceSettings(Settings):
    """Finished own training episodes, sent in full to the neighbours: the upper bound of the benefit of shared data."""

    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 200_000
    """imported transitions kept; the oldest are dropped first"""


class JointExperienceSettings(Settings):
    """Own training episodes, or those of the own shard of a dataset, sent in full to all other agents, for learners of the steps of all
    agents at the same moments (centralised critics); and snapshots of their policies."""

    deadline: Annotated[Duration, Field(gt=0)] = 5.0
    """how long an episode waits for the steps of all agents; it is dropped then, and at once where one of them is dead. With a dataset:
    learning begins without the episodes that are missing, where for four times as long none has become complete"""
    snapshot_every: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """updates of the learner after which its policy is sent to the other agents again"""
    max_policy_age: Annotated[int, Field(ge=1, le=100_000_000)] = 200
    """updates since a snapshot of another agent's policy arrived after which its logged actions are used in place of it"""
    reward_range: tuple[float, float] | None = None
    """least and greatest reward of a step in this environment: steps of another agent that report others are refused, and their episode is
    dropped; null: any finite reward"""

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.max_policy_age < self.snapshot_every:
            text = f"max_policy_age {self.max_policy_age} is less than snapshot_every {self.snapshot_every}"
            raise ValueError(f"{text}: snapshots would be dropped before the next ones come; write {self.snapshot_every} or more")
        if self.reward_range is not None and not self.reward_range[0] < self.reward_range[1]:
            raise ValueError(f"reward_range {list(self.reward_range)} is empty; write the least reward first, then the greatest")
        return self


class ConsensusSettings(Settings):
    """Averaging of named parameter groups with the graph's neighbours."""

    mode: Annotated[str, RegisteredKind(ROOM)] = "pushsum"
    """pushsum: exact in spite of lost messages and restarts (push-sum with running sums); mh: synchronous gossip with Metropolis-Hastings
    weights, exact only without losses; clip, trim, median, geomedian, krum: robust against Byzantine neighbours; choco: gossip with
    compressed changes; or a rule that a plugin registers"""
    num_byzantine: int = Field(default=1, ge=0, le=64)
    """number of Byzantine neighbours that robust rules tolerate"""
    compression: CompressionSettings = CompressionSettings()
    """of choco"""
    step_size: float | None = Field(default=None, gt=0.0, le=1.0)
    """gamma of choco; null: as large as the compression permits"""
    options: dict[str, Any] = {}
    """further keys of a rule that a plugin registers"""
    groups: Annotated[list[Group], Field(min_length=1)] = ["policy", "critic", "world_model"]
    """what is averaged; groups that the components do not have are refused"""
    every: Period = Period(updates=50)
    """how often"""
    deadline: Annotated[Duration, Field(gt=0)] = 2.0
    """a round closes without the neighbours that are later than this, and sooner without those that are regularly late"""
    window: Annotated[int, Field(ge=1, le=32)] = 4
    """pushsum: offers to a neighbour that it has not acknowledged, before it is given nothing more"""
    offer_dtype: Literal["float64", "float32"] = "float64"
    """pushsum: what offers travel in; float32 halves the traffic, and agents then agree to six digits"""

    @model_validator(mode="after")
    def _rule_exists(self) -> Self:
        try:
            _ = self.rule
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"options.{'.'.join(map(str, first['loc']))} of the rule {self.mode}: {first['msg']}") from None
        return self

    @property
    def rule(self) -> AveragingRuleSettings:
        """Settings of the rule `mode`, from the keys that it shares with this section and from `options`."""
        return rule_settings(self.mode, {name: getattr(self, name) for name in SHARED}, self.options)


class StatisticsSettings(Settings):
    """Sums over all agents of the statistics of their world models, for models with additive statistics."""

    CAPABILITIES: ClassVar[dict[str, tuple[str, ...]]] = {
        "ledger": ("directed_graphs", "entry_of_each_agent"),
        "pushsum": ("directed_graphs",),
        "mh": (),
    }
    """of each mode; entry_of_each_agent: the number of agents is limited by what a ledger can hold"""
    mode: Literal["ledger", "pushsum", "mh"] = "ledger"
    """ledger: every agent stores the newest statistics of all agents, and the sum is exact; pushsum: running sums, for more than 64 agents,
    large models, or where no agent may see the unmixed statistics of another; mh: synchronous averaging without loss (comparison)"""
    min_transitions: Annotated[int, Field(ge=1, le=100_000_000)] = 250
    """new transitions of its own before an agent publishes again: from the difference of two versions few transitions can be read back"""
    every: Annotated[Duration, Field(gt=0)] = 0.2
    """ledger: how often missing entries are offered to a neighbour; pushsum, mh: least time between two rounds"""
    deadline: Annotated[Duration, Field(gt=0)] = 2.0
    """pushsum, mh: a round closes without the neighbours that are later than this"""
    tolerance: Annotated[float, Field(gt=0, le=0.1)] = 1e-6
    """pushsum, mh: agents have agreed when projections of their sums differ by no more than this share (stop rule)"""
    check_every: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """mh: rounds between two checks of agreement, no less than the diameter of the graph; null: the number of agents less one"""
    rounds: Annotated[int, Field(ge=1, le=99_999)] = 2000
    """mh: rounds after which averaging ends though agents have not agreed"""
    report_every: Annotated[int, Field(ge=1, le=99_999)] | None = 10
    """mh: rounds between two from which the run's figure `statistics.disagreement` is made; null: it is not"""
    withdraw_after: Annotated[Duration, Field(gt=0)] | None = None
    """ledger: what an agent has published is withdrawn when it has been dead so long; null: what it saw stays true"""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Capabilities of the mode."""
        return self.CAPABILITIES[self.mode]

    @classmethod
    def modes_with(cls, capability: str) -> str:
        """The modes with a capability, as text."""
        return " or ".join(mode for mode, capabilities in cls.CAPABILITIES.items() if capability in capabilities)


class PlanSettings(Settings):
    """Agents send planned trajectories to their neighbours, and their models treat the neighbours' plans as observed."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    """of the policy's trajectory in the world model, sent after each refresh of the model"""


register("negotiation", "coordination_game", CoordinationGameSettings, "agent_node.exchange.goal_negotiation:CoordinationGame")
register("negotiation", "contract_net", ContractNetSettings, "agent_node.exchange.goal_swap:GoalSwap")
