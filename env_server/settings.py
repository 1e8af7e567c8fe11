"""Settings of the environment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from protocols.runtime.settings_types import AlsoAccepts, Duration, Probability, Settings, UserFunction


class GoalSettings(Settings):
    """Goals for an environment that has none of its own, or whose dictionary observations hold goals.

    What an agent's body achieves is read after each step from a function (`of`), or else from `infos[agent]["achieved_goal"]` or the entry
    `achieved_goal` of a dictionary observation. Goals are discrete (`count`) or vectors (`low`, `high`).
    """

    of: UserFunction | None = None
    """a function `package.module:function(environment, agent, observation)`, or `./file.py:function`, that returns what the agent achieves:
    `count` bits (or the number of the one goal achieved, -1: none), or a vector. For PettingZoo and Gymnasium it is called for each copy
    with its environment, the agent's name in it, and its observation; for vectorised environments once for all copies, and returns one row
    for each"""
    count: Annotated[int, Field(ge=2, le=4096)] | None = None
    """number of goals; null: goals are vectors"""
    low: Annotated[list[float], Field(min_length=1, max_length=256)] | None = None
    """least values of a vector goal; null: the bounds of `achieved_goal` in the observation space"""
    high: Annotated[list[float], Field(min_length=1, max_length=256)] | None = None
    """greatest values of a vector goal"""
    rule: Literal["own", "any", "exclusive"] = "own"
    """discrete goals: reached when the own body achieves it; when any member does; when the own body does and no other member"""
    threshold: Annotated[float, Field(ge=0)] = 0.05
    """vector goals: Euclidean distance up to which a goal is reached"""
    compute_reward: UserFunction | None = None
    """vector goals: a function `package.module:function(achieved[n, D], desired[n, D])` that returns n rewards; null: that of the Gymnasium
    environment if it has one (as in Gymnasium-Robotics), else 1 where the goal is reached and 0 elsewhere"""
    reward: Literal["replace", "add"] = "replace"
    """the reward for goals replaces that of the environment, or is added to it"""
    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """factor of the reward for goals"""
    team: Probability = 0.0
    """share w of the mean reward for goals of all members in each member's reward, (1 - w) own + w mean"""
    ends: bool = True
    """an agent's part of an episode ends when its goal is reached; false: every step at the goal is rewarded"""
    chosen_by: Literal["agents", "environment"] = "agents"
    """environment: the goal is `desired_goal` of the dictionary observation or of infos at the start of an episode"""

    @model_validator(mode="after")
    def _one_kind(self) -> GoalSettings:
        if (self.low is None) != (self.high is None) or len(self.low or []) != len(self.high or []):
            raise ValueError("low and high belong together: give equally many bounds in both")
        if self.count is not None and self.low is not None:
            raise ValueError("goals are numbers (count) or vectors (low, high): leave one out")
        if self.count is None and self.rule != "own":
            raise ValueError(f"rule: {self.rule} is for discrete goals; give count")
        return self


class SupervisorSettings(Settings):
    """A goal supervisor, which gives all members of an episode one goal: what agreement between agents is compared with."""

    alignment: Probability = 1.0
    """in this share of the episodes with a cooperative goal all members hold the same; below 1 the supervisor assigns goals so often that
    this share results, where agents without an assigned goal choose uniformly"""


class WrapperSettings(Settings):
    """A wrapper around the environment of each copy: a class or function that is called with the environment and returns an environment."""

    of: UserFunction
    """`package.module:name`, e.g. `gymnasium.wrappers:RescaleAction` or `supersuit:clip_reward_v0`, or `./file.py:name`"""
    arguments: dict[str, Any] = {}
    """keyword arguments besides the environment"""


Wrapper = Annotated[
    WrapperSettings,
    BeforeValidator(lambda given: {"of": given} if isinstance(given, str) else given),
    AlsoAccepts({"type": "string", "description": "the name alone: package.module:name or ./file.py:name"}),
]


class ImageSettings(Settings):
    """How images (Box of uint8 with 2 to 4 axes) are prepared before they are sent to the agents, and how many frames a step has. Not for
    vectorised environments.

    The order is: maximum over frames, sticky actions, frame skip, grayscale, size, frame stack. `sticky_actions` and `frame_skip` apply to
    environments without images, too."""

    size: tuple[Annotated[int, Field(ge=1, le=4096)], Annotated[int, Field(ge=1, le=4096)]] | None = (84, 84)
    """greatest height and width in pixels: a longer side is reduced to it by averaging over boxes of pixels, each side on its own, so that
    the aspect ratio may change; smaller images stay as they are; null: none is reduced"""
    grayscale: bool = False
    """one channel, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), in place of three"""
    frame_stack: Annotated[int, Field(ge=1, le=16)] = 1
    """newest frames that are stacked along the channels, oldest first, so that motion is observed; before the start of an episode stands
    its first frame"""
    frame_skip: Annotated[int, Field(ge=1, le=64)] = 1
    """frames of one step, in which the action is repeated and rewards are summed; the last one is observed. `until.steps` counts steps, not
    frames"""
    frame_max: Annotated[int, Field(ge=1, le=4)] = 1
    """newest frames, skipped ones too, of which the greatest value of each pixel is observed: 2 where an environment draws some things in
    every other frame only, as Atari games do"""
    sticky_actions: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """probability with which an agent's action of the frame before is repeated in place of the chosen one, at each frame and for each agent
    on its own; 0.25 is usual for Atari games"""
    frame_order: Literal["skip_stack", "stack_skip"] = "skip_stack"
    """skip_stack: frames are stacked that are `frame_skip` apart, those of the newest steps; stack_skip: consecutive frames are stacked,
    skipped ones too, and a step shows the newest"""

    @model_validator(mode="after")
    def _order_has_an_effect(self) -> ImageSettings:
        if self.frame_order == "stack_skip" and (self.frame_skip == 1 or self.frame_stack == 1):
            raise ValueError("frame_order: stack_skip needs frame_skip and frame_stack above 1; write skip_stack")
        return self


class EnvironmentSettings(Settings):
    """The environment, the number of copies, and what happens when agents are late."""

    id: Annotated[str, Field(min_length=1, max_length=1000)]
    """`landmarks`; `reward_collection`; `prison`; `particles:WORLD` (`simple_spread`, `simple_tag`, `rescue`, `two_basins`); a PettingZoo
    environment as `package:module`, e.g. `mpe2:simple_spread_v3` or `pettingzoo.butterfly:pistonball_v6`; `gymnasium:ID`, e.g.
    `gymnasium:CartPole-v1`; `minigrid:ID`, e.g. `minigrid:MiniGrid-DoorKey-8x8-v0`; a PettingZoo (Parallel, AEC) or Gymnasium environment
    of your own as `package.module:factory`, found in the working directory too, or as `./file.py:factory`, relative to the working
    directory; or the name of a registered vectorised environment"""
    options: dict[str, Any] = {}
    """keyword arguments of the environment"""
    wrappers: Annotated[list[Wrapper], Field(max_length=32)] = []
    """wrappers around the environment of each copy, the first one innermost; each as `package.module:name` or `./file.py:name`, or as
    `{of: ..., arguments: {...}}`. They wrap the Gymnasium environment, or the PettingZoo one. Not for vectorised environments"""
    images: ImageSettings = ImageSettings()
    """size, grayscale and frame stack of observed images, and frames of a step"""
    copies: Annotated[int, Field(ge=1, le=65536)] = 16
    """copies of the environment, stepped together in one message. Where nothing is given: 4 without goals if all agents learn by replay,
    since the replay buffer takes whole episodes; 16 otherwise"""
    deadline: Duration = 2.0
    """how long a step waits for an action before the stand-in counts; all copies step together, so an agent that is slow at every step
    delays all others by this time"""
    step_timeout: Annotated[Duration, Field(ge=1.0)] = 60.0
    """how long one step of all copies may take; then the environment server ends with exit code 20 and is restarted"""
    late_action: Literal["repeat", "noop", "random"] = "repeat"
    """the action of a late agent: its last one, action 0 (the middle of a continuous range), or a random one"""
    goal_deadline: Duration = 3.0
    """how long an episode may wait for its members' goals before its members count as late and are given uniform ones"""
    goals: GoalSettings | None = None
    """goals for an environment without native ones; null: those that the environment has itself, if any"""
    info_metrics: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32)] = []
    """keys of `infos[agent]` whose numbers become metrics `info.KEY` of episodes: the mean over the steps and agents of an episode that
    have such a number. Not for vectorised environments, which report metrics themselves"""
    supervisor: SupervisorSettings | None = None
    """a supervisor that chooses discrete goals; null: the agents choose"""


class EvaluationInterval(Settings):
    """Distance of two evaluations in training steps of all copies together."""

    steps: Annotated[int, Field(ge=1)]
    """training steps between two evaluations, those of all copies together, as `until.steps` counts them"""


class EvaluationSettings(Settings):
    """Episodes with greedy policies that are not used for learning, played at the start, periodically, and at the end."""

    every: Annotated[int, Field(ge=1)] | EvaluationInterval = 2000
    """training episodes between two evaluations, or `{steps: N}`, training steps, for learning curves over equal numbers of steps"""
    episodes: Annotated[int, Field(ge=0)] = 64
    """episodes of one evaluation; 0 switches evaluation off"""
    final_episodes: Annotated[int, Field(ge=0)] = 256
    """episodes of the last evaluation, after training has ended"""
    time_share: Annotated[float, Field(gt=0)] | None = 0.1
    """longest time of an evaluation as a share of the training time so far, but at least `min_time`: with 0.1, after one hour of training,
    six minutes. When the time is over no further episode begins; those that have begun are played to their end (in the last evaluation for
    at most as long again), so that short episodes do not count more than long ones. With `aligned` both halves have half of the time.
    null: no bound. Evaluations under `clock: logical`, and in vectorised environments without `cancel_evaluation`, have no bound"""
    min_time: Duration = 10.0
    """longest time of an evaluation while `time_share` of the training time so far is less"""
    aligned: bool = True
    """in goal environments also play as many episodes with one goal given to all members (skill apart from agreement)"""
