"""Contract of environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments import registry
from env_server.environments.environment_contracts import EpisodeRecord, GoalEnvironment, TickResult, VectorEnvironment
from env_server.settings import EnvironmentSettings
from murmuration.testing.contract import Contract
from murmuration.testing.goal_checks import check_goal_space
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.action_masks import draw_legal
from protocols.spaces.layout import Layout

ENDED = Flag.TERMINATED | Flag.TRUNCATED
RETURN_TOLERANCE = 1e-3


def check_environment(
    id: str,
    options: Mapping[str, Any] = {},
    agents: int = 2,
    copies: int = 3,
    steps: int = 300,
    goals: Mapping[str, Any] | None = None,
    episodes_end: bool = True,
) -> None:
    """Check an environment that a configuration could name.

    Parameters:
        id: as `environment.id`: the kind of a registered vectorised environment, `module:factory` of a PettingZoo or Gymnasium
            environment, ...
        options: as `environment.options`.
        agents: number of agents.
        copies: copies that are stepped together.
        steps: steps of uniform random actions; several episodes should end in them.
        goals: as `environment.goals`; the goal space is checked too.
        episodes_end: whether an episode must end in these steps.

    Rules: layouts and arrays agree in shape and type; flags describe whole episodes, and no episode number repeats; agents that wait for
    their turn get no reward; sums of rewards equal those of the finished episodes; equal seeds and actions give equal results; agents may
    be missing in `actions`; requested evaluations are marked; returned arrays belong to the receiver. Raises `ContractError`.
    """
    names = [f"agent-{i}" for i in range(agents)]
    try:
        settings = EnvironmentSettings.model_validate({"id": id, "options": dict(options), "copies": copies, "goals": goals})
        made = [registry.create(settings, names, seed=1) for _ in range(2)]
    except (ConfigurationError, ValueError) as error:
        Contract(f"environment {id}").refused(error, "correct the options")
    check = _EnvironmentCheck(id, made[0], made[1], steps, episodes_end)
    try:
        check.run()
    finally:
        for environment in made:
            environment.close()
            with check.calling("close(), called twice"):
                environment.close()


def random_action(layout: Layout, observation: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    """Uniform actions `[copies, A]` of one agent for what it observes, `[copies, ...]`; legal ones where they are masked."""
    copies = len(observation)
    if layout.mask:
        return draw_legal(observation[:, -layout.mask_size :], layout.actions, random)
    if layout.actions:
        return np.stack([random.integers(choices, size=copies) for choices in layout.actions], axis=1).astype(np.int32)
    return random.uniform(layout.low, layout.high, (copies, len(layout.low))).astype(np.float32)


def set_random_goals(environment: GoalEnvironment) -> None:
    """Set uniform goals in all episodes that were offered since the last call."""
    for offer in environment.offers():
        for agent in offer.members:
            goal = environment.goal_space.draw(np.random.default_rng(offer.episode))
            environment.set_goal(offer.episode, agent, goal if offer.goal < 0 else offer.goal, False)


class _EnvironmentCheck(Contract):
    def __init__(self, id: str, environment: VectorEnvironment, twin: VectorEnvironment, steps: int, episodes_end: bool) -> None:
        super().__init__(f"environment {id}")
        self.environment, self.twin, self.steps, self.episodes_end = environment, twin, steps, episodes_end
        self.layouts = {agent: environment.layout(agent) for agent in environment.agents}
        shape = (len(environment.agents), environment.copies)
        self.phase = np.full(shape, "out", dtype=object)
        self.returns, self.lengths = np.zeros(shape), np.zeros(shape, int)
        self.started: set[int] = set()
        self.ended: dict[tuple[int, str], tuple[float, int]] = {}
        self.records: list[EpisodeRecord] = []
        self.current: NDArray[np.int64] = np.full(environment.copies, -1, np.int64)
        self.evaluations: set[int] = set()

    def run(self) -> None:
        environment, twin = self.environment, self.twin
        with self.calling("reset(seed, first_episode)"):
            result, again = environment.reset(7, 100), twin.reset(7, 100)
        least = int(min(result.episode.max(), 100))
        self.require(least >= 100 or result.episode.max() < 0, "episodes start below first_episode", "count from first_episode")
        self.equal(result, again)
        self.result(result)
        random = np.random.default_rng(0)
        for number in range(self.steps):
            seen = {agent: batch.observation for agent, batch in result.agents.items()}
            actions = {agent: random_action(self.layouts[agent], seen[agent], random) for agent in environment.agents}
            for batch in result.agents.values():
                batch.observation[:], batch.reward[:], batch.flags[:] = 0, np.nan, 0
            if number % 7 == 3:
                actions.pop(environment.agents[0])
            if number == self.steps // 2:
                for one in (environment, twin):
                    with self.calling("evaluate(episodes, aligned)"):
                        one.evaluate(2, False)
            self.goals(number)
            with self.calling("step(actions)"):
                result, again = environment.step(actions), twin.step(actions)
            self.equal(result, again)
            self.result(result)
            self.finished()
        text = f"no episode ends in {self.steps} steps"
        self.require(self.records or not self.episodes_end, text, "give a longer `steps`, or end episodes by Flag.OVER")
        self.require(
            self.evaluations or not self.episodes_end, "no episode after evaluate(...) has Flag.EVALUATION", "mark evaluations by this flag"
        )
        with self.calling("set_present(agents)"):
            environment.set_present(environment.agents[:1])
            environment.step({})
            environment.set_present(environment.agents)
            environment.step({})

    def goals(self, number: int) -> None:
        for environment in (self.environment, self.twin):
            if isinstance(environment, GoalEnvironment):
                if number == 0 and environment is self.environment:
                    check_goal_space(environment.goal_space)
                with self.calling("offers(), set_goal(...), waiting()"):
                    set_random_goals(environment)
                    environment.waiting()

    def equal(self, one: TickResult, other: TickResult) -> None:
        same = np.array_equal(one.episode, other.episode) and all(
            np.array_equal(batch.observation, other.agents[agent].observation)
            and np.array_equal(batch.reward, other.agents[agent].reward)
            and np.array_equal(batch.flags, other.agents[agent].flags)
            for agent, batch in one.agents.items()
        )
        self.require(same, "equal seeds and actions give different results", "draw from `seed` and the episode number only")

    def result(self, result: TickResult) -> None:
        require, copies = self.require, self.environment.copies
        missing = sorted(set(self.environment.agents) - set(result.agents))
        require(not missing, f"the result lacks {missing}", "return a batch for every agent")
        self.array(result.episode, "episode", (copies,), "i")
        for copy, episode in enumerate(result.episode.tolist()):
            if episode >= 0 and episode != self.current[copy]:
                require(episode not in self.started, f"episode {episode} is played twice", "count episodes over all copies")
                self.started.add(episode)
        self.current = result.episode.copy()
        for i, agent in enumerate(self.environment.agents):
            batch, layout = result.agents[agent], self.layouts[agent]
            dtype = np.dtype(np.uint8 if layout.dtype == "u1" else np.float32)
            self.array(batch.observation, f"observation of {agent}, by its layout,", (copies, *layout.shape), dtype)
            self.array(batch.reward, f"reward of {agent}", (copies,), np.dtype(np.float32))
            self.array(batch.flags, f"flags of {agent}", (copies,), np.dtype(np.uint16))
            for copy in range(copies):
                self.row(i, agent, copy, Flag(int(batch.flags[copy])), float(batch.reward[copy]), int(result.episode[copy]))

    def row(self, i: int, agent: str, copy: int, flag: Flag, reward: float, episode: int) -> None:
        """One agent in one copy: out -> active -> parked -> over -> active or out; before its first turn it is early instead of active."""
        require, phase = self.require, self.phase[i, copy]
        place = f"{agent}, copy {copy}, episode {episode}"
        if not flag & Flag.MEMBER:
            require(flag == 0, f"{place}: flags {flag!r} without Flag.MEMBER", "set no flag for agents that are no members")
            self.phase[i, copy] = "out"
            return
        if flag & Flag.EVALUATION:
            self.evaluations.add(episode)
        if flag & Flag.WAITING:
            alone = not flag & (ENDED | Flag.OVER | Flag.PARKED | Flag.FIRST) and reward == 0
            require(alone, f"{place}: {flag!r}, reward {reward:g} at another agent's turn", "set Flag.WAITING alone, and reward 0")
            if phase in ("out", "over"):
                self.returns[i, copy], self.lengths[i, copy], self.phase[i, copy] = 0.0, 0, "early"
            else:
                self.lengths[i, copy] += 1
            return
        if flag & Flag.FIRST:
            text = f"{place}: Flag.FIRST before the last episode is over"
            require(phase in ("out", "over", "early"), text, "set Flag.OVER at its last step")
            require(
                not flag & (ENDED | Flag.OVER | Flag.PARKED), f"{place}: Flag.FIRST with {flag!r}", "the first observation ends nothing"
            )
            self.returns[i, copy], self.phase[i, copy] = 0.0, "active"
            self.lengths[i, copy] = self.lengths[i, copy] + 1 if phase == "early" else 0
            return
        text = f"{place}: a step after the episode is over"
        require(phase in ("active", "parked", "early"), text, "begin the next episode with Flag.FIRST at the tick after Flag.OVER")
        if phase == "parked":
            fits = bool(flag & Flag.PARKED) and not flag & ENDED and reward == 0
            require(fits, f"{place}: {flag!r}, reward {reward:g} after its part ended", "set Flag.PARKED and reward 0")
        else:
            require(not flag & Flag.PARKED, f"{place}: Flag.PARKED before its part ended", "set TERMINATED or TRUNCATED at its last step")
            self.returns[i, copy] += reward
            self.lengths[i, copy] += 1
        if flag & ENDED:
            self.phase[i, copy] = "parked"
            self.ended[episode, agent] = float(self.returns[i, copy]), int(self.lengths[i, copy])
        if flag & Flag.OVER:
            text = f"{place}: Flag.OVER without TERMINATED or TRUNCATED"
            require(self.phase[i, copy] == "parked", text, "every agent's part ends by one of them")
            self.phase[i, copy] = "over"

    def finished(self) -> None:
        with self.calling("finished()"):
            records, _ = self.environment.finished(), self.twin.finished()
        self.records += records
        for record in records:
            for agent, reward, length in zip(record.members, record.rewards, record.lengths, strict=True):
                if (record.episode, agent) not in self.ended:
                    continue
                total, steps = self.ended.pop((record.episode, agent))
                found = f"the rewards of {agent} sum to {total:g} in {steps} steps"
                text = f"episode {record.episode}: {found}, and finished() reports {reward:g} in {length}"
                fits = abs(total - reward) <= RETURN_TOLERANCE * max(1.0, abs(total)) and steps == length
                self.require(fits, text, "report sums of the rewards that were returned")
