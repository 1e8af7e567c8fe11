"""Progressive mutual-information collaboration (PMIC: Li et al., arXiv 2203.08553) as a bonus on replayed rewards:

    r' = r + alpha low(s, u) - beta up(s, u)

s and u are the observations and the actions of all members, in the order of the team. `low` is a lower bound of their mutual information,
learnt from the superior episodes of a `DualMemory`; `up` is an upper bound, learnt from the inferior ones (`information_bounds`).

`form: standardised`: each bound b is replaced by sigma_r clip((b - m_b) / sigma_b, -3, 3), with running means and standard deviations of
the bounds and of the team's reward, so that the weights do not depend on the scale of rewards and the bonus has mean 0; low is the InfoNCE
reading of the scores, within [0, log n]; up is clipped to +-(number of action components) / 3. Both weights rise linearly during
`warm_up`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from agent_node.contracts import Batch, JointSteps, Metrics, PolicySpec, ReplayReward, State, Team, with_prefix
from agent_node.intrinsic.information_bounds import LowerBound, UpperBound, infonce_bound, jsd_bound
from agent_node.intrinsic.settings import MutualInformationSettings
from agent_node.learners.library.optimisers import Adam, FlatComponent
from agent_node.memory.dual_memory import DualMemory, EpisodeStore
from protocols.runtime.errors import ConfigurationError

LEAST_RATE = 0.01
"""weight of the newest batch in running means, once there were 100 batches; before, all batches have equal weight"""
CLIP = 3.0
"""standard deviations"""


class JointPairs:
    """Steps of a team as pairs of a state `[B, S]` and a joint action `[B, U]`, both float32.

    State: the members' observations side by side. Action: the components of members with continuous actions, scaled to [-1, 1], then those
    of members with discrete ones, one-hot. Zeros where a member is not active.
    """

    def __init__(self, team: Team) -> None:
        self._continuous = [j for j, spec in enumerate(team.specs) if not spec.actions]
        self._discrete = [j for j, spec in enumerate(team.specs) if spec.actions]
        self._specs = team.specs
        bounds = [(low, high, j) for j in self._continuous for low, high in zip(team.specs[j].low, team.specs[j].high, strict=True)]
        self._low = torch.tensor([low for low, _, _ in bounds])
        self._range = torch.tensor([high for _, high, _ in bounds]) - self._low
        self._member = torch.tensor([j for _, _, j in bounds], dtype=torch.int64)
        """of each continuous component"""
        self.state = sum(int(np.prod(spec.observation)) for spec in team.specs)
        self.continuous = sum(len(team.specs[j].low) for j in self._continuous)
        self.choices = tuple(count for j in self._discrete for count in team.specs[j].actions)
        self.action = self.continuous + sum(self.choices)

    def __call__(self, joint: JointSteps) -> tuple[torch.Tensor, torch.Tensor]:
        """State and joint action of steps `[B, ...]`."""
        whole = bool(joint.active.all())

        def present(values: torch.Tensor, j: int) -> torch.Tensor:
            return values if whole else values * joint.active[:, j, None]

        state = torch.cat([present(values.flatten(1), j) for j, values in enumerate(joint.observation)], dim=1)
        parts = []
        if self._continuous:
            scaled = (torch.cat([joint.action[j] for j in self._continuous], dim=1) - self._low) / self._range * 2 - 1
            parts.append(scaled if whole else scaled * joint.active[:, self._member])
        for j in self._discrete:
            for factor, count in enumerate(self._specs[j].actions):
                parts.append(present(functional.one_hot(joint.action[j][:, factor], count), j))
        return state.to(torch.float32), torch.cat(parts, dim=1).to(torch.float32)


class RunningMoments:
    """Running mean and mean square of batches, as a live tensor `[2]` that may be averaged with neighbours."""

    def __init__(self) -> None:
        self.tensor = torch.zeros(2)

    def update(self, values: torch.Tensor, rate: float) -> None:
        """Move toward the moments of `values[B]` by the weight `rate`."""
        self.tensor.lerp_(torch.stack([values.mean(), values.square().mean()]), rate)

    @property
    def mean(self) -> torch.Tensor:
        """A scalar."""
        return self.tensor[0]

    @property
    def std(self) -> torch.Tensor:
        """A scalar, 0 where averaging has left a mean square below the squared mean."""
        return (self.tensor[1] - self.tensor[0].square()).clamp_min(0).sqrt()


class MutualInformation(FlatComponent, ReplayReward):
    """Replay reward `mutual_information`. Parameter groups: `mi_low` and `mi_up`, each with the running moments of its bound.

    `ConfigurationError` for a learner without the capability "joint".
    """

    counters = ("updates", "batches")

    def __init__(self, settings: MutualInformationSettings, policy_spec: PolicySpec, seed: int, initial: int) -> None:
        if policy_spec.team is None:
            text = "mutual_information needs the steps of all members; choose a learner that declares joint"
            raise ConfigurationError(f"agents.replay_reward: {text}, or write null")
        self.settings = settings
        self.standardised = settings.form == "standardised"
        self.pairs = JointPairs(policy_spec.team)
        generator = torch.Generator().manual_seed(initial)
        self.lower = LowerBound(self.pairs.state, self.pairs.action, self.standardised, settings.negatives, generator)
        self.upper = UpperBound(self.pairs.state, self.pairs.continuous, self.pairs.choices, generator)
        self._greatest_upper = (self.pairs.continuous + len(self.pairs.choices)) / 3
        widths = {"state": self.pairs.state, "action": self.pairs.action}
        self.memory = DualMemory(settings.episodes, widths, settings.max_deviations, settings.reorder)
        self.moments = {"low": RunningMoments(), "up": RunningMoments(), "reward": RunningMoments()}
        self.updates = 0
        """batches with a bonus"""
        self.batches = 0
        rate, unlimited = settings.learning_rate, float("inf")
        self.optimisers = {
            "low": Adam(self.lower.vector, self.lower.gradient, rate, unlimited),
            "up": Adam(self.upper.vector, self.upper.gradient, rate, unlimited),
        }
        self._generator = torch.Generator().manual_seed(seed)
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._counts: Counter[str] = Counter()

    # --- memories -------------------------------------------------------------------------------------------------------------------

    def joint_episode_ended(self, number: int, joint: JointSteps, returns: NDArray[np.float32]) -> None:
        """Store the episode; its return is the mean of the members' returns."""
        state, action = self.pairs(joint)
        steps = {"state": state, "action": action}
        total = float(np.mean(returns, dtype=np.float64))
        superior = self.memory.add(number, total, steps, inferior=self.settings.single_memory)
        if superior is not None:
            self._counts["mi.admitted" if superior else "mi.rejected"] += 1

    @property
    def superior(self) -> EpisodeStore:
        """The episodes from which the lower bound is learnt."""
        return self.memory.inferior if self.settings.single_memory else self.memory.superior

    # --- the bonus ------------------------------------------------------------------------------------------------------------------

    def bonus(self, batch: Batch) -> torch.Tensor:
        """A training step of both bounds, and alpha low - beta up of the batch, `[B]`. Zeros before `least_episodes` superior episodes; a
        bound of weight 0 is neither trained nor applied."""
        settings, joint = self.settings, batch.joint
        if joint is None:
            raise ValueError("mutual_information needs batches with joint steps")
        self.batches += 1
        self.moments["reward"].update(joint.reward.mean(dim=1), max(1 / self.batches, LEAST_RATE))
        bonus = torch.zeros(len(joint.reward))
        if len(self.superior) < settings.least_episodes or not (settings.maximise or settings.minimise):
            return bonus
        self.updates += 1
        state, action = self.pairs(joint)
        for _ in range(settings.gradient_steps):
            self.train(state, action)
        bounds = self._bounds(state, action)
        for name, bound in bounds.items():
            self.moments[name].update(bound, max(1 / self.updates, LEAST_RATE))
        bonus = self._combined(bounds, bonus)
        for name, values in (*bounds.items(), ("bonus", bonus)):
            std, mean = torch.std_mean(values, unbiased=False)
            self._sums[f"mi.{name}"].append(float(mean))
            self._sums[f"mi.{name}.std"].append(float(std))
        return bonus

    def shaping(self, joint: JointSteps) -> torch.Tensor:
        """alpha low - beta up of joint steps, `[B]`, by the bounds and moments as they are; changes no state."""
        return self._combined(self._bounds(*self.pairs(joint)), torch.zeros(len(joint.reward)))

    @torch.no_grad()
    def _bounds(self, state: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """The bounds of positive weight."""
        found = {}
        if self.settings.maximise:
            found["low"] = self.low(state, action)
        if self.settings.minimise:
            found["up"] = self.up(state, action)
        return found

    def _combined(self, bounds: Mapping[str, torch.Tensor], bonus: torch.Tensor) -> torch.Tensor:
        for name, bound in bounds.items():
            moments = self.moments[name]
            scaled = ((bound - moments.mean) / (moments.std + 1e-6)).clamp(-CLIP, CLIP) if self.standardised else bound
            bonus = bonus + (self.settings.maximise if name == "low" else -self.settings.minimise) * scaled
        if self.standardised:
            bonus = bonus * self.moments["reward"].std * min(1.0, self.updates / max(1, self.settings.warm_up))
        return bonus

    def train(self, state: torch.Tensor, action: torch.Tensor) -> None:
        """One gradient step of each bound of positive weight: of the lower one on superior steps, of the upper one on inferior steps with
        a share of the given pairs of the learner's batch."""
        settings = self.settings
        if settings.maximise:
            sample = self.superior.sample(settings.batch_size, self._generator)
            self.lower.descend(sample["state"], sample["action"])
            self.optimisers["low"].step()
        if settings.minimise and len(self.memory.inferior):
            recent = round(settings.replay_share * settings.batch_size)
            sample = self.memory.inferior.sample(settings.batch_size - recent, self._generator)
            if recent:
                rows = torch.randint(len(state), (recent,), generator=self._generator)
                sample = {"state": torch.cat([sample["state"], state[rows]]), "action": torch.cat([sample["action"], action[rows]])}
            self.upper.descend(sample["state"], sample["action"])
            self.optimisers["up"].step()

    def low(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """The lower bound of each pair, `[B]`."""
        own, scores = self.lower(state, action)
        return infonce_bound(own, scores).clamp_min(0) if self.standardised else jsd_bound(own, scores)

    def up(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """The upper bound of each pair, `[B]`."""
        bound: torch.Tensor = self.upper(state, action)
        return bound.clamp(-self._greatest_upper, self._greatest_upper) if self.standardised else bound

    # --- component ------------------------------------------------------------------------------------------------------------------

    def metrics(self) -> Metrics:
        """Means over the batches since the last call, least and greatest returns in both memories, and counts of new episodes."""
        found = {name: float(np.mean(values)) for name, values in self._sums.items()} | {name: float(n) for name, n in self._counts.items()}
        for name, store in (("superior", self.memory.superior), ("inferior", self.memory.inferior)):
            if returns := store.returns:
                found |= {f"mi.{name}.least": returns[0], f"mi.{name}.greatest": returns[-1]}
        self._sums.clear()
        self._counts.clear()
        return found

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`mi_low`, `mi_up`: the bounds' networks and running moments; those of the reward belong to `mi_low`."""
        moments = self.moments
        return {
            "mi_low": [self.lower.vector, moments["low"].tensor, moments["reward"].tensor],
            "mi_up": [self.upper.vector, moments["up"].tensor],
        }

    def live(self) -> State:
        """Networks and running moments."""
        moments = {f"moments.{name}": one.tensor for name, one in self.moments.items()}
        return {"lower": self.lower.vector, "upper": self.upper.vector} | moments

    def state_dict(self) -> State:
        """Networks, moments, both memories, the state of the random generator."""
        memory = {f"memory.{name}": tensor for name, tensor in self.memory.state_dict().items()}
        return super().state_dict() | memory | {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned; `ValueError` or `KeyError` names what does not fit."""
        super().load_state_dict(state)
        self.memory.load_state_dict(with_prefix("memory.", state))
        self._generator.set_state(state["generator"])
