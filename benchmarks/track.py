"""A track whose only reward is far away, explored by planning in the Gaussian-process world model: no network, so that what optimism and
the sharing of statistics are worth can be seen in seconds.

A place x in [-10, 10], actions a in {-1, -1/2, 0, 1/2, 1}, episodes of 40 steps. A step from x pays 1 if |x - 8| < 0.5, costs `cost` |a|,
and leads to

    x' = clip(x + a (0.8 + 0.2 sin x), -10, 10)

Reward, cost and walls are given. The effect of actions is learnt by the world model `gp`, whose prior mean is no motion. Before each
episode an agent plans in its model by value iteration on a grid of 161 places under its optimism; between two episodes it absorbs its
transitions. A greedy agent moves only if its model already contains a path to the reward, so it stays where it is.

Random are only the choice among equally good actions and the times of the ledgers' messages: seeds select these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import ModelData
from agent_node.session.observation_features import Features
from agent_node.world_models.gp.gp_model import GPModel
from agent_node.world_models.imagination.optimism import Bonus, Hallucination, Optimism
from agent_node.world_models.settings import BonusSettings, GPSettings, HallucinationSettings
from protocols.spaces.layout import Layout
from protocols.statistics.ledger import Ledger

Floats = NDArray[np.float64]

END = 10.0
"""walls of the track at -END and END"""
SITE, RADIUS = 8.0, 0.5
HORIZON, EPISODES = 40, 15
COST = 0.05
START, TEAM = (0.0,), (-9.0, -5.0, -1.0, 3.0)
ACTIONS: Floats = np.linspace(-1, 1, 5)
PLACES: Floats = np.linspace(-END, END, 161)
LUCKS = 21
"""values of eta in [-1, 1] among which a plan chooses"""
TIE = 1e-5
"""actions whose values are so close are equally good: predictions are in single precision"""
LINE = Features(Layout(shape=[1], low=[-1.0], high=[1.0]), 1)


def settings_of(place: float = 0.12, action: float = 1.2, **changes: object) -> GPSettings:
    """Of the world model: length-scales of place (1.2 on the track, a fifth of sin x's period) and action, in half-widths of their ranges.

    The box reaches three length-scales beyond the ranges, and 256 features fill it: variance that the features lack is never
    reduced by data, and a hallucinating agent would exploit it permanently. Without linear part, whose prior variance grows with |a|: the
    thresholds of the bonus are then those of the plain kernel. Kernel parameters stay as given, since the first data, of agents that have
    not dared to move, would teach that nothing moves.
    """
    given: dict[str, object] = {
        "bounds": [(-END, END)],
        "clip_to_bounds": True,
        "features": 256,
        "lengthscales": [place],
        "action_lengthscales": [action],
        "half_width": 1 + 3 * place,
        "action_half_width": 1 + 3 * action,
        "linear_variance": 0.0,
        "noise_variance": 1e-3,
        "optimise_every": 0,
        "refresh": HORIZON,
        "learning_starts": 1,
    }
    return GPSettings.model_validate(given | changes)


def move(places: Floats, actions: Floats) -> Floats:
    """x': unknown to the agents."""
    return np.clip(places + actions * (0.8 + 0.2 * np.sin(places)), -END, END)


def paid(places: Floats) -> Floats:
    """1 within the site, 0 elsewhere."""
    return (np.abs(places - SITE) < RADIUS).astype(np.float64)


# --- planning -----------------------------------------------------------------------------------------------------------------------


def look_back(reached: Floats, bonus: Floats, cost: float) -> Floats:
    """Value iteration: Q_t(x, a), `[40, places, actions]`, of all steps from t on, linear in between the places:

        Q_t(x, a) = r(x) - cost |a| + bonus(x, a) + max over eta and b of Q_t+1(x', b),    Q_40 = 0

    `reached[places, actions, etas]`: x', within the walls; `bonus[places, actions]`.
    """
    reward = paid(PLACES)[:, None] - cost * np.abs(ACTIONS) + bonus
    position = (reached + END) / (PLACES[1] - PLACES[0])
    left = np.minimum(position.astype(np.int64), len(PLACES) - 2)
    share = position - left
    values = np.zeros(len(PLACES))
    table = np.empty((HORIZON, len(PLACES), len(ACTIONS)))
    for t in reversed(range(HORIZON)):
        table[t] = reward + ((1 - share) * values[left] + share * values[left + 1]).max(axis=2)
        values = table[t].max(axis=1)
    return table


def best(start: float, cost: float = COST) -> float:
    """Best return from there with the true dynamics."""
    reached = move(PLACES[:, None], ACTIONS[None, :])[:, :, None]
    table = look_back(reached, np.zeros((len(PLACES), len(ACTIONS))), cost)
    return float(np.interp(start, PLACES, table[0].max(axis=1)))


def optimism_of(kind: str, strength: float) -> Optimism | None:
    """`greedy`, `bonus` of weight `strength`, `hallucination` of beta `strength`."""
    if kind == "bonus":
        return Bonus(BonusSettings(weight=strength), LINE, 0)
    return Hallucination(HallucinationSettings(beta=strength), LINE, 0) if kind == "hallucination" else None


def plan(model: GPModel, optimism: Optimism | None, cost: float) -> Floats:
    """Values, as in `look_back`, of the best that the optimism promises in this model. eta leads no further than the walls."""
    shape = len(PLACES), len(ACTIONS)
    state = np.repeat(PLACES, len(ACTIONS)).astype(np.float32)[:, None, None]
    action = np.tile(ACTIONS, len(PLACES)).astype(np.float32)[:, None]
    prediction = model.predict(state, action)
    bonus, following = np.zeros(shape), [prediction.observation]
    if optimism is not None:
        bonus = optimism.bonus(prediction.epistemic, np.zeros(len(prediction.epistemic), np.float32), 0).astype(np.float64).reshape(shape)
        etas = np.linspace(-1, 1, LUCKS) if optimism.hallucinated else np.zeros(1)
        size = len(state), optimism.hallucinated
        following = [optimism.predict_next(prediction, np.full(size, eta, np.float32)) for eta in etas]
    reached = np.concatenate(following, axis=1).astype(np.float64).reshape(*shape, -1)
    return look_back(np.clip(reached, -END, END), bonus, cost)


# --- playing ------------------------------------------------------------------------------------------------------------------------


@dataclass
class Episode:
    """What happened in one: `places[41]`, `actions[40]`."""

    places: Floats
    actions: Floats

    def earned(self, cost: float) -> float:
        """Reward less cost."""
        return float(paid(self.places[:-1]).sum() - cost * np.abs(self.actions).sum())

    @property
    def success(self) -> bool:
        """Whether it paid anything."""
        return bool(paid(self.places[:-1]).any())

    def transitions(self) -> ModelData:
        """For a world model."""
        place, nothing = self.places.astype(np.float32), np.zeros(HORIZON, np.float32)
        return ModelData(place[:-1, None, None], self.actions.astype(np.float32)[:, None], place[1:, None], nothing, nothing)


def play(table: Floats, start: float, random: np.random.Generator) -> Episode:
    """Follow the plan on the real track, from where each step really leads."""
    places, actions = np.full(HORIZON + 1, start), np.zeros(HORIZON)
    for t in range(HORIZON):
        values = np.array([np.interp(places[t], PLACES, column) for column in table[t].T])
        actions[t] = ACTIONS[random.choice(np.flatnonzero(values >= values.max() - TIE))]
        places[t + 1] = move(places[t], actions[t])
    return Episode(places, actions)


def exchange(ledgers: Sequence[Ledger], now: float) -> float:
    """Let the ledgers talk until all hold the same; returns the time then. `RuntimeError` if they don't within 100 s of theirs."""
    peers = {ledger.name: ledger for ledger in ledgers}
    for _ in range(1000):
        now += 0.1
        for ledger in ledgers:
            ledger.tick(now)
        while sends := [(ledger.name, send) for ledger in ledgers for send in ledger.outgoing()]:
            for src, send in sends:
                peers[send.dst].receive(src, send.message, send.arrays, now)
        if len({tuple(ledger.versions.items()) for ledger in ledgers}) == 1:
            return now
    raise RuntimeError("the ledgers never agree")


@dataclass
class History:
    """Of one run with N agents."""

    models: list[GPModel]
    earned: list[list[float]] = field(default_factory=list)
    """by episode and agent"""
    first: list[int | None] = field(default_factory=list)
    """number, from 1, of each agent's first episode that pays"""

    def mean(self, episode: int) -> float:
        """Over the agents, of the episode with this number."""
        return float(np.mean(self.earned[episode - 1]))

    @property
    def all(self) -> int | None:
        """Number of the first episode by which every agent has been paid."""
        known = [number for number in self.first if number is not None]
        return max(known) if len(known) == len(self.first) else None


def explore(
    kind: str,
    strength: float = 0.0,
    starts: Sequence[float] = START,
    shared: bool = False,
    cost: float = COST,
    episodes: int = EPISODES,
    seed: int = 0,
    settings: GPSettings | None = None,
) -> History:
    """One run: an agent for each of `starts`, where `shared` all in a ring of ledgers that agree after each episode."""
    optimism, count = optimism_of(kind, strength), len(starts)
    models = [GPModel(settings or settings_of(), LINE, 0, seed) for _ in starts]
    ties, jitter = ([np.random.default_rng([seed, i, use]) for i in range(count)] for use in range(2))
    names = [f"agent-{i}" for i in range(count)]
    basis, vector = models[0].basis_id, models[0].statistics()
    ring = [(names[i - 1], names[(i + 1) % count]) for i in range(count)]
    ledgers = [Ledger(names[i], names, ring[i], basis, len(vector), jitter[i]) for i in range(count)]
    history, now = History(models, first=[None] * count), 0.0
    for number in range(1, episodes + 1):
        played = [play(plan(models[i], optimism, cost), starts[i], ties[i]) for i in range(count)]
        history.earned.append([episode.earned(cost) for episode in played])
        history.first = [
            number if known is None and episode.success else known for known, episode in zip(history.first, played, strict=True)
        ]
        for model, ledger, episode in zip(models, ledgers, played, strict=True):
            model.absorb(episode.transitions())
            if shared:
                ledger.publish(model.statistics(), number * HORIZON, now)
        now = exchange(ledgers, now) if shared else now
        for model, ledger in zip(models, ledgers, strict=True):
            if shared:
                total = ledger.total()
                model.use(total.vector, total.complete)
            model.refit()
    return history
