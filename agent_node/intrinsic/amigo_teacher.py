"""Adversarially motivated intrinsic goals: a teacher that proposes cells of a grid to a policy (Campero et al., arXiv 2006.12122).

A goal is the number g = x H + y of a cell, drawn from the teacher's softmax over all cells of the grid at that moment; it lasts until it
has been reached or its episode ends. The policy is paid for reaching it, the teacher for having found one that is reached, but not easily:

    policy:   r_i = c (1 - 0.9 k / longest episode) where the goal is reached after k steps
    teacher:  raw = failure + [the difficulty rule takes it for right];  r = clip(raw, -1, 1), but 1 where the environment paid in that step
    loss = mean[- ln pi(g) rho (r - V)] + baseline / 2 mean[(V + rho (r - V) - V)^2] - entropy coefficient mean H(pi),
    rho = min(1, pi(g) / pi'(g)), pi' being the policy that proposed g; a problem of one step each

over batches of goals that have ended, each goal once, in the order in which they ended. Then the rule moves its target by the mean of the
raw rewards. Averaged with neighbours: `teacher`, the network; the rule's target and the goals that wait stay the agent's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Frame, GoalOutcome, Metrics, State, Teacher, TeacherOutput, with_prefix
from agent_node.intrinsic.active_goals import RULES, ActiveGoals, Goals, OwnCellChanges, goal_record
from agent_node.intrinsic.goal_difficulty import DifficultyRule
from agent_node.intrinsic.settings import AmigoTeacherSettings
from agent_node.learners.library.encoders import TeacherNetwork
from agent_node.learners.library.flat_networks import flatten
from agent_node.learners.library.optimisers import FlatComponent, RMSProp, remaining
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.grid_space import Grids

MOST_BATCHES = 20
"""batches of ended goals that may wait; the oldest leave first"""
SLOWEST = 0.9
"""share of the reward that a goal loses when it takes a whole episode"""
_QUEUE = ("snapshot", "goal", "log_probability", "duration", "reached", "reward")
"""fields of a goal that is learnt from"""


class AmigoTeacher(FlatComponent, Teacher):
    """Teacher `amigo` of K copies. `seed`: goals drawn; `initial`: first parameters."""

    counters = ("frames", "updates")

    def __init__(self, settings: AmigoTeacherSettings, grids: Grids | None, copies: int, seed: int, initial: int) -> None:
        if grids is None or grids.full is None:
            text = "agents.teacher: goals are cells of the whole grid, which this environment does not show"
            raise ConfigurationError(f"{text}; write null (or, with MiniGrid, options.view: full or both)")
        self.settings = settings
        self.part = grids.full
        self.goal_length = self.part.width * self.part.height
        self.longest = grids.longest
        self.rule: DifficultyRule = create("difficulty", settings.difficulty)(settings.difficulty, grids.longest)
        generator = torch.Generator().manual_seed(initial)
        self.network = TeacherNetwork(self.part, generator, settings.orientation == "transposed")
        self.vector, self.gradient = flatten(self.network)
        self.optimiser = RMSProp.of(settings, self.vector, self.gradient)
        self.optimisers = {"rmsprop": self.optimiser}
        self.frames = 0
        """own steps that the policy has learnt from"""
        self.updates = 0
        own = OwnCellChanges(self.part.width, self.part.height) if (settings.reached, settings.changed_by) == ("changed", "own") else None
        size, self._most = 3 * self.goal_length, MOST_BATCHES * settings.batch_size
        self.active_goals = ActiveGoals(copies, size, RULES[settings.reached], settings.boundary, own, self._most)
        self._explore = torch.Generator().manual_seed(seed)
        self._evaluate = torch.Generator().manual_seed(seed + 1)
        self._queue: Goals = np.zeros(0, goal_record(size))

    @property
    def waiting(self) -> int:
        """Goals that have ended and were not learnt from yet."""
        return len(self._queue)

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def step(self, frame: Frame) -> TeacherOutput:
        """A tick: which goals have been reached, and which ones are in force now."""
        cells = frame.raw[:, self.part.cells]
        ticked = self.active_goals.tick(cells, frame.reward, frame.flags, frame.continuous)
        paid = (self.settings.coefficient * (1 - SLOWEST * self.active_goals.duration / self.longest)).astype(np.float32)
        reward, late = np.where(ticked.reached, paid, 0), np.where(ticked.late, paid, 0)
        self._append(ticked.ended[~ticked.ended["evaluation"] & (ticked.ended["number"] >= 0)])
        wanting = ticked.wanting
        restart = self._restarting(ticked.reached, frame.flags)
        if restart is not None:
            wanting = wanting[~restart[wanting]]
        borrowing = self.active_goals.apply_swaps(cells, frame.continuous & ticked.going_on)
        if len(borrowing):
            wanting = np.setdiff1d(wanting, borrowing)
        if len(wanting):
            self._propose(wanting, cells[wanting], (frame.flags[wanting] & Flag.EVALUATION) != 0)
        return TeacherOutput(self.active_goals.goal.copy(), reward, late, restart)

    def _restarting(self, reached: NDArray[np.bool_], flags: NDArray[np.uint16]) -> NDArray[np.bool_] | None:
        """Copies that go on but for the teacher."""
        if not self.settings.restart_episode:
            return None
        restart: NDArray[np.bool_] = reached & ((flags & (Flag.OVER | Flag.TERMINATED | Flag.TRUNCATED | Flag.EVALUATION)) == 0)
        return restart if restart.any() else None

    def _propose(self, rows: NDArray[np.int64], cells: Array, evaluation: NDArray[np.bool_]) -> None:
        with torch.inference_mode():
            logits, _ = self.network(torch.from_numpy(cells).long())
            chances = logits.log_softmax(dim=1)
            goals = torch.empty(len(rows), dtype=torch.int64)
            for which, generator in ((evaluation, self._evaluate), (~evaluation, self._explore)):
                chosen = torch.from_numpy(np.flatnonzero(which))
                if len(chosen):
                    goals[chosen] = torch.multinomial(chances[chosen].exp(), 1, generator=generator).squeeze(1)
            chance = chances.gather(1, goals[:, None]).squeeze(1)
        self.active_goals.set(rows, cells, goals.numpy(), chance.numpy(), evaluation)

    def _append(self, goals: Goals) -> None:
        """Let goals that are over wait to be learnt from."""
        if len(goals):
            self._queue = np.concatenate([self._queue, goals])[-self._most :]

    # --- goals that change hands ------------------------------------------------------------------------------------------------------

    def swappable(self) -> NDArray[np.int64]:
        """`[K]` numbers of the own goals in force in training; -1 for none."""
        return self.active_goals.swappable()

    def current_goals(self) -> NDArray[np.int64]:
        """`[K]` goals in force."""
        return self.active_goals.goal

    def swap_in(self, row: int, goal: int, given: int) -> None:
        """From the next tick on the policy pursues `goal` in that row, and a neighbour the own goal `given`."""
        self.active_goals.swap_in(row, goal, given)

    def finished_swaps(self) -> list[tuple[int, GoalOutcome]]:
        """Borrowed goals that have ended since the last call, by row."""
        return self.active_goals.finished_swaps()

    def swap_ended(self, number: int, outcome: GoalOutcome) -> None:
        """Learn from the outcome of an own goal that a neighbour pursued. Goals that were not pursued, and impossible outcomes, are
        ignored."""
        proposal = self.active_goals.pop_swapped_out(number)
        if proposal is None or not 1 <= outcome.duration <= self.longest:
            return
        for name, value in outcome._asdict().items():
            proposal[name] = value
        self._append(proposal)

    # --- learning ---------------------------------------------------------------------------------------------------------------------

    def learn(self, batch: Batch) -> Metrics:
        """As many updates as there are whole batches of ended goals. Metrics: `threshold` (t*), and means over the updates: `reward` (what
        was paid), `reward.raw`, `extrinsic` (the environment's, in the steps that ended the goals), `reached`, `hard` (shares), `duration`,
        `duration.reached` (steps), `entropy` (nats), `loss.policy`, `loss.value`."""
        sums: dict[str, list[float]] = defaultdict(list)
        size = self.settings.batch_size
        while self.waiting >= size:
            part, self._queue = self._queue[:size], self._queue[size:]
            for name, value in self._update({name: np.ascontiguousarray(part[name]) for name in _QUEUE}).items():
                sums[name].append(value)
        self.frames += round(float(batch.weight.sum()))
        return {name: float(np.mean(values)) for name, values in sums.items()} | {"threshold": float(self.rule.target)}

    def _update(self, goals: Mapping[str, Array]) -> Metrics:
        settings, duration, reached = self.settings, goals["duration"], goals["reached"]
        hits = self.rule.hits(duration, reached)
        raw = settings.failure + hits
        reward = np.where(goals["reward"] > 0, 1.0, np.clip(raw, -1, 1)).astype(np.float32)

        logits, value = self.network(torch.from_numpy(goals["snapshot"]).long())
        chances = logits.log_softmax(dim=1)
        log_probability = chances.gather(1, torch.from_numpy(goals["goal"])[:, None]).squeeze(1)
        entropy = -(chances.exp() * chances).sum(dim=1).mean()
        with torch.no_grad():
            rho = (log_probability - torch.from_numpy(goals["log_probability"])).exp().clamp_max(1.0)
            advantage = rho * (torch.from_numpy(reward) - value)
            target = value + advantage
        policy_loss = -(log_probability * advantage).mean()
        value_loss = 0.5 * (target - value).square().mean()
        loss: torch.Tensor = policy_loss + settings.value_coef * value_loss - settings.entropy_coef * entropy
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step(remaining(self.frames, settings.decay_steps))
        self.updates += 1

        metrics = {
            "reward": reward.mean(), "reward.raw": raw.mean(), "extrinsic": goals["reward"].mean(), "reached": reached.mean(),
            "hard": hits.mean(), "duration": duration.mean(), "entropy": entropy.item(), "loss.policy": policy_loss.item(),
            "loss.value": value_loss.item(),
        }  # fmt: skip
        if reached.any():
            metrics["duration.reached"] = duration[reached].mean()
        self.rule.update(float(raw.mean()), float(goals["reward"].mean()))
        return {name: float(number) for name, number in metrics.items()}

    # --- parameters -------------------------------------------------------------------------------------------------------------------

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`teacher`: all weights."""
        return {"teacher": [self.vector]}

    def live(self) -> State:
        """The network."""
        return {"network": self.vector}

    def state_dict(self) -> State:
        """Network, RMSProp's moments, the rule's counters, goals that wait to be learnt from."""
        state = super().state_dict() | {f"rule.{name}": torch.from_numpy(array) for name, array in self.rule.state().items()}
        return state | {f"queue.{name}": torch.from_numpy(np.ascontiguousarray(self._queue[name])) for name in _QUEUE}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned. `ValueError` names what is missing or has another shape."""
        super().load_state_dict(state)
        self.rule.load_state({name: part.numpy() for name, part in with_prefix("rule.", state).items()})
        queue = {name: part.numpy() for name, part in with_prefix("queue.", state).items()}
        missing = [f"queue.{name}" for name in _QUEUE if name not in queue]
        if missing:
            raise ValueError(f"{', '.join(missing)} is missing in the state of the teacher")
        shape = queue["snapshot"].shape
        if shape[1:] != self._queue["snapshot"].shape[1:] or len({len(queue[name]) for name in _QUEUE}) != 1:
            raise ValueError(f"queue.snapshot has shape {list(shape)}, which fits no goals in this grid")
        self._queue = np.zeros(len(queue["goal"]), self._queue.dtype)
        for name in _QUEUE:
            self._queue[name] = queue[name]
