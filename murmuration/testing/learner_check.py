"""Contracts of learners, and of the intrinsic rewards that they learn from."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from agent_node.contracts import Batch, IntrinsicReward, JointSteps, Learner, PolicyOutput, PolicySpec, Team, TransitionBatch
from agent_node.intrinsic.settings import CuriositySettings
from agent_node.learners.network_settings import ReplaySequenceSettings
from agent_node.learners.settings import LearnerSettings, ReplaySettings, RolloutSettings
from murmuration.testing import made_up_data
from murmuration.testing.contract import ComponentContract, different

UPDATES = 3
ACTS = 30
ROWS = 32
REWARDED = 20
"""batches of transitions whose intrinsic rewards are compared"""


def check_learner(settings: LearnerSettings, policy_spec: PolicySpec | None = None) -> None:
    """Check the learner that is registered for these settings.

    It is built for each kind of action space that it declares ("discrete": 3 choices; "continuous": 2 numbers in [-1, 1]), with 4
    observed numbers, with and without goals ("joint": without, in a team of three); or for `policy_spec` alone, where a learner needs
    images or grids. Rules: shapes, types and
    ranges of actions; greedy actions do not change the exploration; `learn` changes finite parameters and leaves its batch unchanged; live
    parameter groups; equal agents from equal seeds; checkpoints; the methods of declared capabilities. Raises `ContractError`.
    """
    contract = ComponentContract("learner", "learner", settings, LearnerSettings)
    capabilities, kinds = settings.capabilities, {"replay": ReplaySettings, "rollout": RolloutSettings}
    chosen = [kind for kind in kinds if kind in capabilities]
    contract.require(len(chosen) == 1, f"capabilities {capabilities}", 'declare exactly one of "replay" and "rollout"')
    base = kinds[chosen[0]]
    text = f"the settings declare {chosen[0]!r} and do not derive from {base.__name__}, whose fields the training reads"
    contract.require(isinstance(settings, base), text, f"derive them from {base.__name__}")
    spaces = [space for space in ("discrete", "continuous") if space in capabilities]
    contract.require(spaces, f"capabilities {capabilities} name no action space", 'declare "discrete", "continuous" or both')
    joint = "joint" in capabilities
    lengths = (0,) if joint else (0, made_up_data.GOALS)
    specs = [made_up_data.policy_spec(space == "discrete", goal) for space in spaces for goal in lengths]
    if joint:
        specs = [made_up_data.team_spec(spec) for spec in specs]
    for spec in specs if policy_spec is None else [policy_spec]:
        _LearnerCheck(settings, spec).run()


class _LearnerCheck(ComponentContract):
    settings: LearnerSettings

    def __init__(self, settings: LearnerSettings, spec: PolicySpec) -> None:
        super().__init__("learner", "learner", settings, LearnerSettings)
        self.spec = spec

    def learner(self, seed: int = 1, initial: int = 2) -> Learner:
        made: Learner = self.make(self.spec, made_up_data.COPIES, seed, initial)
        return made

    def run(self) -> None:
        learner = self.learner()
        same = not different(learner.state_dict(), self.learner().state_dict())
        self.require(same, "two learners from equal seeds have different parameters", "draw parameters from `initial` only")
        self.acting(learner)
        self.greedy_acting()
        self.learning(learner)
        self.capabilities(learner)
        self.checkpoint(learner, self.learner(3, 4))
        self.metrics(learner.metrics(), "metrics()")

    def act(
        self, learner: Learner, explore: bool, number: int = made_up_data.COPIES, imagined: bool = False, first: bool = False
    ) -> PolicyOutput:
        random = np.random.default_rng(number)
        seen = made_up_data.observations(self.spec, number, random), made_up_data.goals(self.spec, number, random)
        rows = None if imagined else np.arange(number)
        with self.calling(f"act(..., rows={'None' if imagined else '[n]'}, explore={explore}) for {number} observations"):
            return learner.act(*seen, rows, np.full(number, first), explore)

    def acting(self, learner: Learner) -> None:
        spec, require = self.spec, self.require
        for explore, number, imagined in ((True, 5, False), (True, 2, False), (False, 3, False), (True, 7, True)):
            output = self.act(learner, explore, number, imagined)
            require(isinstance(output, PolicyOutput), f"act returned a {type(output).__name__}", "return PolicyOutput(actions)")
            width, dtype = len(spec.actions) or len(spec.low), np.int32 if spec.actions else np.float32
            if spec.hallucinated and imagined:
                width += spec.hallucinated
            self.array(output.actions, "actions of act", (number, width), np.dtype(dtype))
            inside = not spec.actions or bool(((output.actions >= 0) & (output.actions < np.array(spec.actions))).all())
            require(inside, "actions of act are out of range", f"return less than {list(spec.actions)}, the numbers of choices")
            for name, extra in output.extras.items():
                self.array(extra, f"extras[{name!r}]", (number, *np.shape(extra)[1:]), "f")

    def greedy_acting(self) -> None:
        plain, mixed = self.learner(), self.learner()
        anew = "recurrent" in self.settings.capabilities  # greedy actions change the state of an episode, but of no other one
        for _ in range(ACTS):
            self.act(mixed, explore=False)
            expected, found = self.act(plain, explore=True, first=anew), self.act(mixed, explore=True, first=anew)
            text = "acting with explore=False changes the actions of the exploration that follow"
            same = np.array_equal(expected.actions, found.actions)
            self.require(same, text, "draw nothing from the exploration's generator where explore is False")

    def batch(self, learner: Learner, number: int) -> Batch:
        random = np.random.default_rng(number)
        if "rollout" in self.settings.capabilities:
            batch = made_up_data.rollout(learner, self.spec, random)
        elif "recurrent" in self.settings.capabilities:
            given = getattr(self.settings, "recurrent", None)
            if not isinstance(given, ReplaySequenceSettings):
                text = "the settings declare 'recurrent', and not how long sequences are"
                self.broken(text, "give them a field recurrent: ReplaySequenceSettings")
            batch = made_up_data.sequences(self.spec, given.sequence, given.burn_in, random)
        else:
            batch = made_up_data.replay_batch(self.spec, ROWS, random)
            if "relative_return" in self.settings.capabilities:
                batch.extras["relative_return"] = torch.from_numpy(random.normal(size=ROWS).astype(np.float32))
            if "next_action" in self.settings.capabilities:
                batch.extras["next_action"] = batch.action.roll(1, dims=0)
                batch.extras["followed"] = torch.from_numpy((random.random(ROWS) < 0.9).astype(np.float32))
        return batch if self.spec.team is None else made_up_data.with_joint(batch, self.spec.team, random)

    def learning(self, learner: Learner) -> None:
        require = self.require
        groups = self.groups(learner, self.settings.groups)
        before = {name: [tensor.detach().clone() for tensor in tensors] for name, tensors in groups.items()}
        for number in range(UPDATES):
            batch = self.batch(learner, number)
            kept = deepcopy(batch)
            with self.calling("learn(batch)"):
                metrics = learner.learn(batch)
            self.metrics(metrics, "learn")
            changed = [one.name for one in fields(batch) if not _same(getattr(batch, one.name), getattr(kept, one.name))]
            require(not changed, f"learn changes {', '.join(changed)} of its batch", "copy tensors before changing them")
        for name, tensors in self.groups(learner, self.settings.groups).items():
            live = [tensor.data_ptr() for tensor in tensors] == [tensor.data_ptr() for tensor in groups[name]]
            require(live, f"learn replaces the tensors of group {name!r}", "change parameters in place")
            finite = all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
            require(finite, f"group {name!r} is not finite after {UPDATES} updates", "check the loss and the learning rate")
        moved = any(not torch.equal(old, new) for name in groups for old, new in zip(before[name], groups[name], strict=True))
        require(moved or not groups, f"no parameter group changes in {UPDATES} updates", "return the tensors that learn changes")
        with self.calling("averaged()"):
            learner.averaged()

    def capabilities(self, learner: Learner) -> None:
        random, spec, declared = np.random.default_rng(0), self.spec, self.settings.capabilities
        seen, wanted = made_up_data.observations(spec, ROWS, random), made_up_data.goals(spec, ROWS, random)
        if "probabilities" in declared:
            with self.calling('log_probability, declared as "probabilities",'):
                logs = learner.log_probability(seen, wanted, made_up_data.actions(spec, ROWS, random))
            self.array(logs, "log_probability", (ROWS,), "f")
            at_most = not spec.actions or bool((logs <= 1e-5).all())
            self.require(at_most, "log_probability of discrete actions is above 0", "return ln pi(a | o, g)")
        if "td_errors" in declared and "replay" in declared:
            state = {name: tensor.detach().clone() for name, tensor in learner.state_dict().items()}
            with self.calling('td_errors, declared as "td_errors",'):
                errors = learner.td_errors(self.batch(learner, 9))
            self.array(errors, "td_errors", (ROWS,), "f", 0.0)
            same = not different(state, learner.state_dict())
            self.require(same, "td_errors changes the state of the learner", "compute without updating anything")
        if "values" in declared:
            with self.calling('values, declared as "values",'):
                values = learner.values(seen, wanted)
            self.array(values, "values", (ROWS,), "f")
        if self.spec.team is not None:
            self.joint(learner, self.spec.team)

    def joint(self, learner: Learner, team: Team) -> None:
        """Snapshots go from a learner to its peers."""
        for member in range(len(team.names)):
            if member == team.own:
                continue
            spec = replace(team.specs[member], team=replace(team, own=member))
            peer: Learner = self.make(spec, made_up_data.COPIES, 5, 6)
            with self.calling('policy_snapshot, declared as "joint",'):
                snapshot = peer.policy_snapshot()
            self.array(snapshot, "policy_snapshot", (len(snapshot),), np.dtype(np.float32))
            wrong = np.zeros(len(snapshot) + 1, np.float32)
            before = _copied(learner.state_dict())
            cure = "compare its shape with that of the parameters before copying them"
            rule = "load_peer_policy accepts a snapshot of another shape"
            self.refuses(rule, cure, partial(learner.load_peer_policy, member, wrong))
            same = not different(before, learner.state_dict())
            self.require(same, "a refused snapshot changes the state of the learner", cure)
            for given in (snapshot, None):
                with self.calling(f"load_peer_policy({member}, {'snapshot' if given is snapshot else None})"):
                    learner.load_peer_policy(member, given)
                known = bool(different(before, learner.state_dict()))
                if given is not None:
                    self.require(known, "a loaded snapshot is not in state_dict", "put the peers' parameters into the state")
                with self.calling("learn(batch)"):
                    self.metrics(learner.learn(self.batch(learner, member)), "learn")
            learner.load_peer_policy(member, snapshot)


def _copied(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, tuple):
        return all(map(_same, one, other))
    if isinstance(one, JointSteps):
        return _same(vars(one), vars(other))
    return one is None or torch.equal(one, other)


def check_intrinsic_reward(settings: CuriositySettings, policy_spec: PolicySpec | None = None) -> None:
    """Check the intrinsic reward that is registered for these settings, with 4 observed numbers or for `policy_spec`.

    Rules: `reward` gives a finite float32 for each step, also for few steps, and leaves the transitions unchanged; `learn` returns
    metrics; two components with equal seeds give equal rewards; a restored component gives the rewards of the original. Raises
    `ContractError`.
    """
    contract = ComponentContract("intrinsic reward", "curiosity", settings, CuriositySettings)
    spec = policy_spec or made_up_data.policy_spec(discrete=True)

    def make(seed: int = 1) -> IntrinsicReward:
        made: IntrinsicReward = contract.make(spec, made_up_data.COPIES, seed)
        return made

    one, other = make(), make()
    for number in range(REWARDED):
        rows = 1 + number % made_up_data.COPIES
        expected, found = _reward(contract, one, spec, rows, number), _reward(contract, other, spec, rows, number)
        contract.require(np.array_equal(expected, found), "equal components give different rewards", "draw from `seed` only")
    batch = made_up_data.replay_batch(spec, made_up_data.STEPS * made_up_data.COPIES, np.random.default_rng(0))
    shape = (made_up_data.STEPS, made_up_data.COPIES)
    for name, tensor in vars(batch).items():
        if hasattr(tensor, "reshape"):
            setattr(batch, name, tensor.reshape(*shape, *tensor.shape[1:]))
    with contract.calling("learn(batch)"):
        metrics = one.learn(batch)
    contract.metrics(metrics, "learn")
    contract.metrics(one.metrics(), "metrics()")
    restored = make(2)
    contract.checkpoint(one, make(2))
    restored.load_state_dict({name: tensor.detach().clone() for name, tensor in one.state_dict().items()})
    same = np.allclose(_reward(contract, one, spec, 5, 99), _reward(contract, restored, spec, 5, 99), rtol=1e-4, atol=1e-6)
    contract.require(same, "a restored component gives other rewards than the original", "put everything that rewards need into state_dict")


def _reward(contract: ComponentContract, component: IntrinsicReward, spec: PolicySpec, rows: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    seen, following = made_up_data.observations(spec, rows, random), made_up_data.observations(spec, rows, random)
    begins = random.random(rows) < 0.2
    transitions = TransitionBatch(np.arange(rows), seen, following, following.copy(), seen.copy(), begins)
    with contract.unchanged("reward changes the transitions", seen, following):
        with contract.calling(f"reward(transitions) of {rows} steps"):
            reward = component.reward(transitions)
        contract.array(reward, "reward", (rows,), np.dtype(np.float32))
    return reward
