"""Random steps of one environment, made as a run makes it: what `orchestrate check-env` prints."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from env_server.adapters.imported_environments import maker
from env_server.adapters.parallel_conversions import SingleAgentParallel, TurnBasedParallel
from env_server.adapters.space_translation import MASK
from env_server.environments import registry
from env_server.environments.environment_contracts import EpisodeRecord, GoalEnvironment, VectorEnvironment
from env_server.environments.environment_factory import EnvironmentProblem
from env_server.settings import EnvironmentSettings
from murmuration.testing.contract import Contract, ContractError
from murmuration.testing.environment_check import check_environment, random_action, set_random_goals
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.component_registry import kinds
from protocols.runtime.errors import ConfigurationError, ExitCode
from protocols.spaces.layout import Layout

SECONDS = 3.0
"""longest time of the steps whose speed is measured"""
_SEED = 7
_PLAYS = Flag.MEMBER | Flag.FIRST | Flag.PARKED | Flag.WAITING
_STILL = 30
"""random steps in which an image must change"""
_DEFAULT_AGENTS = 2
_PARALLEL = "return observations, rewards, terminations, truncations, infos: five dicts by agent"
_GYMNASIUM = "return observation, reward, terminated, truncated, info"


@dataclass
class EnvironmentTrial:
    """The result of `try_environment`; numbers are missing where a rule was broken before they were measured."""

    id: str
    agents: list[str] = field(default_factory=list)
    """names in the environment, in the order of agent-0, agent-1, ..."""
    spaces: list[dict[str, str]] = field(default_factory=list)
    """for each agent what the run makes of its spaces: `agent`, `observation`, `action`"""
    steps: int = 0
    """random steps of one copy whose speed was measured"""
    steps_per_second: float | None = None
    episodes: int = 0
    """episodes that ended in these steps"""
    reward: tuple[float, float] | None = None
    """least and greatest reward of an agent in one step"""
    returns: tuple[float, float] | None = None
    """least and greatest sum of all members' rewards in an episode"""
    lengths: tuple[int, int] | None = None
    """least and greatest number of steps of an episode"""
    rule: str = ""
    """the first broken rule; empty: none is broken"""
    cure: str = ""
    warning: str = ""
    """the first observation outside of its space, which breaks no rule"""
    missing: bool = False
    """whether the rule is broken because a package is missing"""

    @property
    def ok(self) -> bool:
        """Whether no rule is broken."""
        return not self.rule

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"ok": self.ok, **asdict(self)}


def try_environment(id: str, options: Mapping[str, Any] = {}, agents: int | None = None, steps: int = 300) -> EnvironmentTrial:
    """Play `steps` random steps of an environment that a configuration could name, and check it (`check_environment`, and for imported
    environments the results of `reset` and `step` before they are converted). `agents`: number of agents; None: that of the environment."""
    trial = EnvironmentTrial(id)
    try:
        settings = EnvironmentSettings.model_validate({"id": id, "options": dict(options), "copies": 1})
        _Trial(settings, trial, agents, steps).run()
    except ContractError as error:
        trial.rule, trial.cure = error.rule, error.cure
    except (ConfigurationError, ValueError) as error:
        text = _first(error) if isinstance(error, EnvironmentProblem) else str(error)
        trial.missing = isinstance(error, ConfigurationError) and error.exit_code == ExitCode.RESOURCES
        rule, _, cure = text.rpartition("; " if "; " in text else ": ")
        trial.rule, trial.cure = (rule, cure) if rule else (cure, "correct the id or its options")
    except Exception as error:
        trial.rule, trial.cure = f"making it raised {type(error).__name__}: {error}", "correct the environment or its options"
    return trial


def _first(error: EnvironmentProblem) -> str:
    """The first problem, with the name of the option that it is about."""
    path, message = error.problems[0].path, error.problems[0].message
    return f"{'.'.join(map(str, path[2:]))}: {message}" if path[:2] == ("environment", "options") and len(path) > 2 else message


class _Trial(Contract):
    def __init__(self, settings: EnvironmentSettings, trial: EnvironmentTrial, agents: int | None, steps: int) -> None:
        super().__init__(settings.id)
        self.settings, self.trial, self.count, self.steps = settings, trial, agents, steps
        self.random = np.random.default_rng(0)

    def run(self) -> None:
        if self.settings.id.partition(":")[0] not in kinds(registry.ROOM):
            self.imported()
        elif self.count is None:
            self.count = 1 if registry.is_single_player(self.settings) else _DEFAULT_AGENTS
        names = [f"agent-{i}" for i in range(self.count or 1)]
        self.trial.agents = self.trial.agents or names
        environment = registry.create(self.settings, names, seed=_SEED)
        try:
            self.trial.spaces = [{"agent": name, **_described(environment.layout(name))} for name in names]
            self.measure(environment)
        finally:
            environment.close()
        check_environment(self.settings.id, self.settings.options, len(names), copies=2, steps=self.steps, episodes_end=False)

    # --- imported environments, before they are converted -------------------------------------------------------------------------------

    def imported(self) -> None:
        environment = maker(self.settings)()
        try:
            if isinstance(environment, SingleAgentParallel):
                self.trial.agents = ["agent_0"]
                self.gymnasium(environment.env)
            else:
                possible = getattr(environment, "possible_agents", None)
                self.require(possible, "the environment does not list its agents", "set the attribute possible_agents")
                self.trial.agents = [str(agent) for agent in possible or ()]
                self.parallel(environment, list(possible or ()), environment.env if isinstance(environment, TurnBasedParallel) else None)
        finally:
            environment.close()
        self.count = self.count or len(self.trial.agents)

    def gymnasium(self, environment: Any) -> None:
        """`reset` and `step` of Gymnasium."""
        first = []
        for _ in range(2):
            with self.calling("reset(seed=...)", "reset takes the keyword arguments seed and options", global_draws=True):
                result = environment.reset(seed=_SEED, options=None)
            self.tuple_of(result, 2, "reset", "return observation, info")
            self.observation(result[0], environment.observation_space, "the observation of reset")
            first.append(result[0])
        self.same(first)
        environment.action_space.seed(_SEED)
        for _ in range(self.steps):
            action = _legal_sample(environment.action_space, result[0], result[-1])
            with self.calling("step(action)", "correct the error there; step takes one action of the action space", global_draws=True):
                result = environment.step(action)
            self.tuple_of(result, 5, "step", _GYMNASIUM)
            self.observation(result[0], environment.observation_space, "the observation of step")
            self.reward(result[1], "the reward")
            if result[2] or result[3]:
                return

    def parallel(self, environment: Any, possible: Sequence[Any], turns: Any) -> None:
        """`reset` and `step` of PettingZoo's Parallel API; `turns`: the AEC environment inside, whose agents take turns, or None."""
        spaces = {agent: environment.observation_space(agent) for agent in possible}
        first = []
        for _ in range(2):
            with self.calling("reset(seed=...)", "reset takes the keyword arguments seed and options", global_draws=True):
                result = environment.reset(seed=_SEED, options=None)
            self.tuple_of(result, 2, "reset", "return observations, infos: two dicts by agent")
            acting = list(environment.agents) if turns is None else [turns.agent_selection]
            self.by_agent(result[0], acting, "the observations of reset")
            for agent in acting:
                self.observation(result[0][agent], spaces[agent], f"the observation of {agent} from reset")
            first.append([result[0][agent] for agent in acting])
        self.same(first)
        for agent in possible:
            environment.action_space(agent).seed(_SEED)
        for _ in range(self.steps):
            acting = list(environment.agents) if turns is None or not turns.agents else [turns.agent_selection]
            if not acting:
                return
            seen, infos = result[0], result[-1]
            actions = {a: _legal_sample(environment.action_space(a), seen.get(a), infos.get(a, {})) for a in acting}
            with self.calling(
                "step(actions)", "correct the error there; step takes a dict of one action for each agent", global_draws=True
            ):
                result = environment.step(actions)
            self.tuple_of(result, 5, "step", _PARALLEL)
            for values, what in zip(result[:4], ("observations", "rewards", "terminations", "truncations"), strict=True):
                if turns is None:
                    self.by_agent(values, acting if what != "observations" else environment.agents, f"the {what} of step")
            for agent, observation in result[0].items():
                self.observation(observation, spaces[agent], f"the observation of {agent} from step")
            for agent in acting if turns is None else result[1]:
                self.reward(result[1][agent], f"the reward of {agent}")

    def tuple_of(self, result: Any, length: int, call: str, cure: str) -> None:
        found = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
        self.require(isinstance(result, tuple) and len(result) == length, f"{call} returned {found} instead of {length}", cure)

    def by_agent(self, values: Any, agents: Sequence[Any], what: str) -> None:
        self.require(isinstance(values, Mapping), f"{what} are a {type(values).__name__}", "return a dict by agent")
        missing = [str(agent) for agent in agents if agent not in values]
        self.require(not missing, f"{what} lack {', '.join(missing)}", "return an entry for every agent in `agents`")

    def observation(self, observation: Any, space: Any, what: str) -> None:
        if isinstance(observation, Mapping):
            for name, entry in observation.items():
                self.observation(entry, space[name], f"{what}, entry {name},")
            return
        values, shape = np.asarray(observation), getattr(space, "shape", None)
        text = f"{what} has shape {list(values.shape)}, and its space {list(shape or ())}"
        self.require(shape is None or values.shape == shape, text, "return observations of the shape of observation_space")
        finite = values.dtype.kind not in "fc" or bool(np.isfinite(values).all())
        self.require(finite, f"{what} has values that are not finite", "return finite numbers")
        if not self.trial.warning and (outside := _outside(values, space)):
            self.trial.warning = f"{what} {outside}; correct the space or the observation"

    def reward(self, reward: Any, what: str) -> None:
        try:
            number = float(reward)
        except (TypeError, ValueError):
            self.broken(f"{what} is a {type(reward).__name__}", "return one number for each agent")
        self.require(np.isfinite(number), f"{what} is {number}", "return finite numbers")

    def same(self, first: list[Any]) -> None:
        text = "two calls of reset with the same seed give different observations"
        equal = all(map(_equal, first[0], first[1])) if isinstance(first[0], list) else _equal(first[0], first[1])
        self.require(equal, text, "draw from a generator made of `seed`, such as self.np_random after super().reset(seed=seed)")

    # --- as a run steps it --------------------------------------------------------------------------------------------------------------

    def measure(self, environment: VectorEnvironment) -> None:
        """Speed, rewards and returns of one copy."""
        trial, least, greatest = self.trial, np.inf, -np.inf
        records: list[EpisodeRecord] = []
        with self.calling("reset(seed)", global_draws=True):
            result = environment.reset(_SEED)
        still = {name: batch.observation for name, batch in result.agents.items() if _is_image(environment.layout(name))}
        spent = 0.0
        while trial.steps < self.steps and spent < SECONDS:
            seen = {agent: batch.observation for agent, batch in result.agents.items()}
            actions = {agent: random_action(environment.layout(agent), seen[agent], self.random) for agent in environment.agents}
            if isinstance(environment, GoalEnvironment):
                set_random_goals(environment)
            began = time.perf_counter()
            with self.calling("step(actions)", global_draws=True):
                result = environment.step(actions)
            spent += time.perf_counter() - began
            trial.steps += 1
            for agent, batch in result.agents.items():
                if agent in still:
                    last, still[agent] = still[agent], batch.observation
                    if not batch.flags[0] & Flag.FIRST and not np.array_equal(last, batch.observation):
                        del still[agent]
                finite = np.isfinite(batch.reward).all() and np.isfinite(batch.observation.astype(np.float64)).all()
                self.require(finite, f"an observation or reward of {agent} is not finite", "return finite numbers")
                # Not the first observation of an episode, nor after the agent's part in it, nor at another agent's turn.
                if batch.flags[0] & _PLAYS == Flag.MEMBER:
                    least, greatest = min(least, float(batch.reward[0])), max(greatest, float(batch.reward[0]))
            records += environment.finished()
        if still and trial.steps >= _STILL:
            names = ", ".join(list(still)[:3]) + (", ..." if len(still) > 3 else "")
            text = f"the image of {names} did not change within an episode, in {trial.steps} random steps"
            cure = "return what is drawn now; some environments draw only with environment.options.render_mode: rgb_array"
            self.broken(text, cure)
        trial.steps_per_second = trial.steps / max(spent, 1e-9)
        trial.reward = (least, greatest) if least <= greatest else None
        trial.episodes = len(records)
        if records:
            returns, lengths = [sum(record.rewards) for record in records], [max(record.lengths) for record in records]
            trial.returns, trial.lengths = (min(returns), max(returns)), (min(lengths), max(lengths))


def _legal_sample(space: Any, observation: Any, info: Any) -> Any:
    """A random action of the space, which the action mask of the observation or the info allows, if there is one."""
    found = observation.get(MASK) if isinstance(observation, Mapping) else None
    if found is None and isinstance(info, Mapping):
        found = info.get(MASK)
    if found is None or not isinstance(space, (Discrete, MultiDiscrete)):
        return space.sample()
    parts = found if isinstance(space, MultiDiscrete) else [found]
    if isinstance(space, MultiDiscrete) and isinstance(found, np.ndarray):
        parts = np.split(found, np.cumsum(space.nvec)[:-1])
    masks = [np.asarray(part, np.int8) for part in parts]
    return space.sample(mask=tuple(masks)) if isinstance(space, MultiDiscrete) else space.sample(mask=masks[0])


def _outside(values: Any, space: Any) -> str:
    """Which value of an observation, and of which component, is not in its space; "" without one."""
    if isinstance(space, Discrete):
        return "" if space.contains(values[()]) else f"is {values[()]}, and its space is {space}"
    if not isinstance(space, Box):
        return ""
    if space.dtype is not None and space.dtype.kind == "f":  # rounded as the bounds are
        values = values.astype(space.dtype)
    wrong = np.argwhere((values < space.low) | (values > space.high))
    if not len(wrong):
        return ""
    index = tuple(wrong[0])
    place = f"has {values[index]:g} at component [{', '.join(map(str, index))}]" if index else f"is {values[index]:g}"
    return f"{place}, outside of [{space.low[index]:g}, {space.high[index]:g}], the bounds of its space"


def _is_image(layout: Layout) -> bool:
    return layout.dtype == "u1" and layout.grid is None and len(layout.shape) == 3


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


def _described(layout: Layout) -> dict[str, str]:
    """Observation and action as agents of a run get them."""
    shape = " x ".join(map(str, layout.shape))
    kind = "integers 0 to 255" if layout.dtype == "u1" else "number" if shape == "1" else "numbers"
    if layout.actions:
        action = "one of " + " x ".join(map(str, layout.actions))
    else:
        bounds = sorted(set(zip(layout.low, layout.high, strict=True)))
        action = f"{len(layout.low)} {'number' if len(layout.low) == 1 else 'numbers'} in " + ", ".join(
            f"[{low:g}, {high:g}]" for low, high in bounds[:3]
        )
    return {"observation": f"{shape} {kind}", "action": action}
