"""What the configuration says of an agent, and the built-in components by name. Torch-free: a configuration is checked in milliseconds."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from protocols.registry import Registered, register
from protocols.settings import Duration, Every, Probability, Settings

Positive = Annotated[float, Field(gt=0)]
Widths = Annotated[list[Annotated[int, Field(ge=1, le=8192)]], Field(min_length=1, max_length=8)]


class LearnerSettings(Settings):
    """What every learner has in common."""

    groups: ClassVar[tuple[str, ...]] = ("critic",)
    """names of the learner's parameter groups, which consensus may average"""
    abilities: ClassVar[tuple[str, ...]] = ()
    """what it can do besides: probabilities (`contracts.Probabilities`), surprise (`contracts.Surprise`), optimism (it takes what
    `world_models.optimism` notes beside transitions)"""
    kind: str
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """step size of Adam"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.98
    """gamma: weight of the next step's value"""
    hidden: Widths = [128, 128]
    """widths of the hidden layers"""
    gradient_norm: Positive = 10.0
    """gradients are scaled down to this norm"""


class ReplaySettings(LearnerSettings):
    """Learners that take transitions from the replay buffer."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """transitions in one gradient update"""
    updates_per_tick: Annotated[float, Field(ge=0, le=64)] = 1.0
    """gradient updates for each step message; 0.25 is one in four"""
    warmup: Annotated[int, Field(ge=0)] = 2000
    """transitions of its own in the buffer before the first update"""
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.01
    """tau: target parameters move by this share of the difference at each update"""


class HeldExplorationSettings(ReplaySettings):
    """Replay learners that explore by random actions which they hold for a while."""

    exploration: Probability = 0.15
    """probability that a row acts at random instead of by the policy"""
    exploration_hold: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (3, 11)
    """a random action is held for a uniform number of steps from this range (ends included)"""


class DoubleDQNSettings(HeldExplorationSettings):
    """Goal-conditioned double Q-learning over the joint discrete action."""

    abilities: ClassVar[tuple[str, ...]] = ("probabilities", "surprise")
    kind: Literal["double_dqn"] = "double_dqn"
    value_range: tuple[float, float] | None = (0.0, 1.0)
    """targets are clamped to this range: the returns that are possible; null for unknown ranges"""


class DiscreteSACSettings(HeldExplorationSettings):
    """Soft actor-critic over the joint discrete action, with automatic temperature."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    abilities: ClassVar[tuple[str, ...]] = ("probabilities", "surprise")
    kind: Literal["discrete_sac"] = "discrete_sac"
    exploration: Probability = 0.0
    """random actions besides those of the stochastic policy"""
    target_entropy: Probability = 0.3
    """wanted entropy as a share of the uniform policy's, ln(number of actions)"""
    temperature: Positive = 0.1
    """alpha at the start"""


class SACSettings(ReplaySettings):
    """Soft actor-critic for continuous actions, with automatic temperature."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    abilities: ClassVar[tuple[str, ...]] = ("optimism",)
    kind: Literal["sac"] = "sac"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-4
    """step size of Adam, of all networks"""
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value"""
    hidden: Widths = [256, 256]
    """widths of the hidden layers of all networks"""
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.005
    """tau: target parameters move by this share of the difference at each update"""
    temperature: Positive = 1.0
    """alpha at the start: weight of the entropy"""
    learn_temperature: bool = True
    """whether alpha follows the entropy that is wanted, minus the number of action components, in nats"""
    random_steps: Annotated[int, Field(ge=0)] = 5000
    """own steps with uniformly random actions before the policy acts"""
    exploit: bool = False
    """a second policy that is paid the reward alone, for evaluations; the first is paid the optimism too, and explores"""


class RolloutSettings(LearnerSettings):
    """Learners that take each transition once, in order, soon after it happened."""

    steps: Annotated[int, Field(ge=1, le=100_000)] = 128
    """step messages in one rollout; with K copies it holds up to K times as many transitions"""


class PPOSettings(RolloutSettings):
    """Proximal policy optimisation, with a policy and a value network (tanh)."""

    groups: ClassVar[tuple[str, ...]] = ("policy", "critic")
    kind: Literal["ppo"] = "ppo"
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    """gamma: weight of the next step's value"""
    hidden: Widths = [64, 64]
    """widths of the hidden layers of both networks"""
    gradient_norm: Positive = 0.5
    """gradients of each network are scaled down to this norm"""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 8
    """how often a rollout is gone through"""
    minibatch: Annotated[int, Field(ge=2, le=1_000_000)] = 2048
    """transitions in one gradient update, about: a rollout is cut into equal parts"""
    trace_decay: Probability = 0.95
    """lambda: weight of the next step's error in an advantage, beside the discount"""
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """ratios of new to old probability gain nothing beyond 1 - clip and 1 + clip"""
    entropy: Annotated[float, Field(ge=0, le=10)] = 0.02
    """weight of the policy's entropy in its objective"""
    divergence_weight: Annotated[float, Field(ge=0, le=100)] = 0.0
    """beta: weight of the divergence of the new policy from the old one at the start, adapted after every rollout; 0: none"""
    divergence_target: Positive = 0.01
    """nats: where the adapted beta is to keep the divergence"""
    evaluation: Literal["sample", "mode"] = "sample"
    """actions in evaluations: drawn from the policy, as published, or the likeliest ones"""


register("learner", "sac", SACSettings, "agent_node.learners.sac:SAC")
register("learner", "ppo", PPOSettings, "agent_node.learners.ppo:PPO")
register("learner", "double_dqn", DoubleDQNSettings, "agent_node.learners.double_dqn:DoubleDQN")
register("learner", "discrete_sac", DiscreteSACSettings, "agent_node.learners.discrete_sac:DiscreteSAC")


class OptimismSettings(Settings):
    """What every optimism has in common."""

    kind: str


class BonusSettings(OptimismSettings):
    """The policy that explores is paid for going where the model is uncertain."""

    kind: Literal["bonus"] = "bonus"
    weight: Annotated[float, Field(ge=0)] = 0.05
    """lambda: reward for a unit of the model's epistemic standard deviation, in units of the observation"""
    until: Annotated[int, Field(ge=1)] | None = None
    """own steps over which the weight falls linearly to 0; null: it stays"""


class HallucinationSettings(OptimismSettings):
    """The policy that explores chooses, within the model's uncertainty, what comes true in imagination."""

    kind: Literal["hallucination"] = "hallucination"
    beta: Positive = 1.0
    """how many standard deviations away from the mean is still held possible"""


register("optimism", "bonus", BonusSettings, "agent_node.world_models.optimism:Bonus")
register("optimism", "hallucination", HallucinationSettings, "agent_node.world_models.optimism:Hallucination")


class ImaginarySettings(Settings):
    """Imagined transitions that are kept for a while, made anew whenever the model has learnt."""

    every: Annotated[int, Field(ge=1)] = 250
    """own steps between two refreshes; models that count themselves when they are due (gp) take no notice of it"""
    starts: Annotated[int, Field(ge=1, le=65536)] = 256
    """real states from which each refresh imagines"""
    horizon: tuple[Annotated[int, Field(ge=1, le=1000)], Annotated[int, Field(ge=1, le=1000)]] = (2, 5)
    """steps of a trajectory, at first and at last"""
    horizon_steps: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (3000, 10_000)
    """own steps between which the horizon grows from its first to its last value"""
    kept: Annotated[int, Field(ge=1, le=1000)] = 20
    """refreshes whose transitions are kept"""
    reward: Literal["model", "known", "learned"] = "model"
    """what is earned in imagination: model: what the world model predicts; known: by the environment's own map of rewards, where it tells
    one; learned: by means over the cells of a grid"""
    cell: Positive = 0.5
    """learned: side of a cell, in units of the observation"""
    trust: Positive | None = None
    """|sigma| of a prediction beyond which the rest of a trajectory teaches nothing to a policy that exploits; null: it may be any"""


class WorldModelSettings(Settings):
    """What every world model has in common."""

    groups: ClassVar[tuple[str, ...]] = ("world_model",)
    """names of the model's parameter groups, which consensus may average"""
    kind: str
    imagined_ratio: Probability = 0.2
    """share of imagined transitions in the learner's batches; 0 trains the model without using it"""
    horizon: Annotated[int, Field(ge=1, le=100)] = 1
    """steps that an imagined trajectory follows the model"""
    updates_per_tick: Annotated[float, Field(ge=0, le=64)] = 0.25
    """fits for each step message"""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """share of episodes kept from training, on which the prediction error is reported"""
    imaginary: ImaginarySettings | None = None
    """imagined transitions are made after each refresh of the model and kept for a while; null: made for each few batches, by `horizon`"""


class EnsembleSettings(WorldModelSettings):
    """Ensemble of networks that predict the change of the observation, the reward, the end, and what is touched."""

    kind: Literal["ensemble"] = "ensemble"
    members: Annotated[int, Field(ge=1, le=64)] = 5
    """networks, each with its own start and its own batches"""
    hidden: Widths = [128, 128]
    """widths of the hidden layers"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    """step size of Adam"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    """transitions in one fit, per member"""
    warmup: Annotated[int, Field(ge=0)] = 1000
    """fits before the model is trusted to imagine"""


register("world_model", "ensemble", EnsembleSettings, "agent_node.world_models.ensemble:Ensemble")

Numbers = Annotated[list[Positive], Field(min_length=1)]
Bounds = Annotated[list[tuple[float, float]], Field(min_length=1)]


class GaussianProcessSettings(WorldModelSettings):
    """What the Gaussian processes have in common. They see the newest observation (angles as sine and cosine) and the action, scaled to
    [-1, 1] by their bounds, and predict the change of the observation; neither reward nor end. Lists hold one number for all components of
    the observation (or of the action), or one for each."""

    groups: ClassVar[tuple[str, ...]] = ()
    updates_per_tick: Annotated[float, Field(ge=0, le=64)] = 0.004
    """fits for each step message"""
    bounds: Bounds = [(-1.0, 1.0)]
    """least and largest value of the observation's components; those in radians need none, and actions have their own"""
    walls: bool = False
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
    iterations: Annotated[int, Field(ge=1, le=1000)] = 20
    """steps of L-BFGS in which the kernel parameters are learnt"""
    optimise_every: Annotated[int, Field(ge=0, le=100_000)] = 4
    """refreshes of the model between two in which the kernel parameters are learnt; 0: they stay as given"""
    warmup: Annotated[int, Field(ge=1)] = 500
    """transitions that the model must rest on before it is trusted to imagine"""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]+)?)$")] = "cpu"
    """where it is computed, in float64"""


class GPSettings(GaussianProcessSettings):
    """Gaussian process in features that all agents share, so that their statistics add up to the model of all data."""

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


class ExactGPSettings(GaussianProcessSettings):
    """Exact Gaussian process on a random part of the own transitions, for agents that share no model."""

    kind: Literal["exact_gp"] = "exact_gp"
    batch_size: Annotated[int, Field(ge=2, le=5000)] = 500
    """transitions it rests on, drawn anew at each fit; time grows with the cube"""


register("world_model", "gp", GPSettings, "agent_node.world_models.gp.model:GPModel")
register("world_model", "exact_gp", ExactGPSettings, "agent_node.world_models.gp.exact:ExactGP")


class BufferSettings(Settings):
    """The replay buffer of whole episodes."""

    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 200_000
    """own transitions kept; the oldest episodes leave first"""


class GoalSourceSettings(Settings):
    """What every goal source has in common."""

    needs_traces: ClassVar[bool] = False
    """whether it learns only from what the partners tell after an episode"""
    kind: str


class UniformGoalSettings(GoalSourceSettings):
    """Every goal is equally likely."""

    kind: Literal["uniform"] = "uniform"


class LearningProgressSettings(GoalSourceSettings):
    """Goals at which the agent gets better, or worse, are likelier than others."""

    kind: Literal["learning_progress"] = "learning_progress"
    window: Annotated[int, Field(ge=1, le=100_000)] = 250
    """outcomes of a goal whose mean is compared with that of as many before them"""
    uniform: Probability = 0.4
    """eps: share of the probability that all goals have equally"""


class JointLearningProgressSettings(GoalSourceSettings):
    """Goals at which the agent gets better, or worse, beside a partner with some goal; the partner's is known from its trace."""

    needs_traces: ClassVar[bool] = True
    kind: Literal["joint_learning_progress"] = "joint_learning_progress"
    window: Annotated[int, Field(ge=1, le=100_000)] = 100
    """outcomes of a pair of goals, own and partner's, whose mean is compared with that of as many before them"""
    uniform: Probability = 0.3
    """eps: share of the probability that all goals have equally"""


class BanditGoalSettings(GoalSourceSettings):
    """Goals that have paid are likelier than others."""

    kind: Literal["bandit"] = "bandit"
    inverse_temperature: Positive = 5.0
    """kappa: probabilities are proportional to exp(kappa * running reward)"""
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.05
    """alpha: how far a goal's running reward moves toward that of an episode"""
    uniform: Probability = 0.2
    """eps: share of the probability that all goals have equally; less than 0.2 soon leaves the easiest goal alone"""


register("goals", "uniform", UniformGoalSettings, "agent_node.goals.uniform:UniformGoals")
register("goals", "learning_progress", LearningProgressSettings, "agent_node.goals.learning_progress:LearningProgress")
register(
    "goals",
    "joint_learning_progress",
    JointLearningProgressSettings,
    "agent_node.goals.joint_learning_progress:JointLearningProgress",
)
register("goals", "bandit", BanditGoalSettings, "agent_node.goals.bandit:BanditGoals")


class AgentSettings(Settings):
    """The parts an agent is made of."""

    learner: Annotated[LearnerSettings, Registered("learner")] = DoubleDQNSettings()
    """what improves the policy"""
    world_model: Annotated[WorldModelSettings, Registered("world_model")] | None = None
    """what predicts the next observation; null for a model-free agent"""
    optimism: Annotated[OptimismSettings, Registered("optimism")] | None = None
    """what the policy that explores is promised where the world model does not know; null: nothing"""
    buffer: BufferSettings = BufferSettings()
    """what it remembers"""
    goals: Annotated[GoalSourceSettings, Registered("goals")] | None = UniformGoalSettings()
    """where its goals come from, in environments with goals; null for environments without"""
    history: Annotated[int, Field(ge=1, le=16)] = 1
    """observations that policy and model see: the newest, and its changes since those before it (2 shows speed)"""


class NegotiationSettings(Settings):
    """What every negotiation has in common."""

    kind: str
    deadline: Annotated[Duration, Field(gt=0)] = 1.0
    """after it both sides go on with goals of their own, and the episode does not count as negotiated"""


class CoordinationGameSettings(NegotiationSettings):
    """The leader draws a goal and sends one integer; the follower reads it by its own table (Nisioti et al., arXiv 2211.06082)."""

    kind: Literal["coordination_game"] = "coordination_game"
    messages: Annotated[int, Field(ge=1, le=65536)] = 30
    """vocabulary size; at least 1.4 times the number of goals learns fastest; 1: a message that says nothing, for comparison"""
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


register("negotiation", "coordination_game", CoordinationGameSettings, "agent_node.goals.coordination_game:CoordinationGame")

Strategy = Literal["own_individual", "future", "final", "episode", "joint", "peer_goal", "near_miss"]
TargetWeighting = Literal["uniform", "rare"]
PartnerCorrection = Literal["ignore", "consistent", "corrected"]


class SegmentSettings(Settings):
    """Steps that surprised one member of an episode, for the others to learn from (Gerstgrasser et al., arXiv 2311.00865)."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """of its steps are told: those of greatest temporal-difference error"""
    window: Annotated[int, Field(ge=1, le=1_000_000)] = 1500
    """its newest errors, among which an error must be so great"""
    rare: Probability = 0.01
    """besides, all steps of an episode in which a goal was reached that is reached in less than this share of the episodes"""
    most_imported: Probability = 0.5
    """largest share of what the partners told in the learner's batches; less while little of it is there"""
    roles: bool = True
    """false: take only segments in which the partner stood on the landmark that the agent itself usually takes"""
    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 20_000
    """of the partners kept; the oldest leave first"""
    version: Annotated[int, Field(ge=1)] = 500
    """updates of the sender that make a version of its policy"""
    oldest: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """versions by which a sender's policy may have moved on, before what it told is dropped"""
    least_weight: Annotated[float, Field(ge=0, le=2)] = 0.0
    """segments are left whose actions the own policy would hardly take: mean of min(own / sender's probability, 2) below this"""


class HindsightSettings(Settings):
    """Traces after the episode, and what is relearnt from them."""

    strategies: Annotated[list[Strategy], Field(min_length=1)] = ["future", "joint", "peer_goal"]
    """own_individual: individual goals its own body reached; future: any goal reached later in the episode; final: what was reached last;
    episode: any goal reached, from the steps before it first was; joint: cooperative goals that both bodies reached together; peer_goal:
    the goal that the partner pursued, where it was reached; near_miss: failures of cooperative goals whose landmarks were touched, but
    never at once"""
    share: Probability = 0.6
    """share of the learner's transitions that are relabelled"""
    weighting: TargetWeighting = "uniform"
    """among the goals that a strategy offers; rare: in proportion to 1 / (1 + episodes in the buffer in which it was reached)"""
    partner: PartnerCorrection = "ignore"
    """the partner acted for another goal than the one that is relearnt. ignore: so be it; consistent: all members relabel an episode with
    the same cooperative goal; corrected: besides, each tells how much likelier its actions would have been under that goal, which weights
    the steps (discrete_sac, double_dqn)"""
    deadline: Annotated[Duration, Field(gt=0)] = 5.0
    """how long an episode waits for its partner's trace; without it only own_individual applies"""
    segments: SegmentSettings | None = None
    """what surprised the partner, besides its trace; null: nobody's observations leave it (learners: double_dqn, discrete_sac)"""

    @model_validator(mode="after")
    def _distinct(self) -> HindsightSettings:
        if len(set(self.strategies)) != len(self.strategies):
            raise ValueError("a strategy is listed twice")
        return self


class CompressionSettings(Settings):
    """How compressed averaging makes a change small."""

    kind: Literal["top_k", "quantise"] = "top_k"
    """top_k: the largest numbers; quantise: all numbers, in few bits"""
    share: float = Field(default=0.1, gt=0.0, le=1.0)
    """of the numbers, for top_k"""
    bits: Literal[2, 4, 8] = 4
    """per number, for quantise"""


class ConsensusSettings(Settings):
    """Averaging of named parameter groups with the graph's neighbours."""

    mode: Literal["pushsum", "mh", "clip", "trim", "median", "geomedian", "krum", "choco"] = "pushsum"
    """pushsum: exact in spite of lost messages and restarts (push-sum with running sums); mh: synchronous gossip with Metropolis-Hastings
    weights, exact only where nothing is lost; clip, trim, median, geomedian, krum: the same rounds, safe from some neighbours that lie;
    choco: the same rounds with compressed changes"""
    liars: int = Field(default=1, ge=0, le=64)
    """how many of its neighbours an agent protects itself against, in clip, trim, median, geomedian and krum"""
    compression: CompressionSettings = CompressionSettings()
    """of choco"""
    step: float | None = Field(default=None, gt=0.0, le=1.0)
    """gamma of choco; null: what the compression bears"""
    groups: Annotated[list[Literal["policy", "critic", "world_model"]], Field(min_length=1)] = ["policy", "critic", "world_model"]
    """what is averaged; groups that the components do not have are refused"""
    every: Every = Every(updates=50)
    """how often"""
    deadline: Annotated[Duration, Field(gt=0)] = 2.0
    """a round closes without the neighbours that are later than this, and sooner without those that are regularly late"""
    window: Annotated[int, Field(ge=1, le=32)] = 4
    """pushsum: offers to a neighbour that it has not acknowledged, before it is given nothing more"""
    offers: Literal["float64", "float32"] = "float64"
    """pushsum: what offers travel in; float32 halves the traffic, and agents then agree to six digits"""


class StatisticsSettings(Settings):
    """Sums over all agents of what their models are made of, for models whose statistics add up."""

    mode: Literal["ledger", "pushsum", "mh"] = "ledger"
    """ledger: everybody holds everybody's newest statistics, and the sum is exact; pushsum: running sums, for more than 64 agents, large
    models, or where nobody is to see another's statistics unmixed; mh: synchronous averaging, where nothing is lost (comparison)"""
    least: Annotated[int, Field(ge=1, le=100_000_000)] = 250
    """new transitions of its own before an agent publishes again: from the difference of two versions few transitions can be read back"""
    every: Annotated[Duration, Field(gt=0)] = 0.2
    """ledger: how often a neighbour is told what is there while it has not got it; pushsum, mh: least time between two rounds"""
    deadline: Annotated[Duration, Field(gt=0)] = 2.0
    """pushsum, mh: a round closes without the neighbours that are later than this"""
    tolerance: Annotated[float, Field(gt=0, le=0.1)] = 1e-6
    """pushsum, mh: agents have agreed when projections of their sums differ by no more than this share (stop rule)"""
    check: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """mh: rounds between two checks of agreement, no less than the diameter of the graph; null: the number of agents less one"""
    rounds: Annotated[int, Field(ge=1, le=99_999)] = 2000
    """mh: rounds after which averaging ends though agents have not agreed"""
    forget: Annotated[Duration, Field(gt=0)] | None = None
    """ledger: what an agent has published is withdrawn when it has been dead so long; null: what it saw stays true"""


class ExchangeSettings(Settings):
    """What travels over the edges; each part can be switched off with null."""

    negotiation: Annotated[NegotiationSettings, Registered("negotiation")] | None = None
    """goals agreed on before an episode; null: each for itself"""
    hindsight: HindsightSettings | None = None
    """traces after an episode; null: only its own experience"""
    consensus: ConsensusSettings | None = None
    """averaging of models; null: independent agents"""
    statistics: StatisticsSettings | None = None
    """sums of the statistics of additive models; null: everybody's model is its own"""
