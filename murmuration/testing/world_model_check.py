"""Contract of world models."""

from __future__ import annotations

import numpy as np

from agent_node.contracts import AdditiveWorldModel, ModelData, Prediction, WorldModel
from agent_node.world_models.settings import WorldModelSettings
from murmuration.testing import made_up_data
from murmuration.testing.contract import ComponentContract

FITS = 400
"""updates after which a model must be ready"""
ROWS = 200
"""transitions of an update"""
TEST = 64


def check_world_model(settings: WorldModelSettings, discrete: bool = True) -> None:
    """Check the world model that is registered for these settings.

    It is trained on the linear system o' = 0.9 o + 0.1 a with 4 observed numbers and discrete (or, `discrete` false, continuous) actions
    until it is `ready`. Rules: shapes, types and signs of predictions; draws from the given generators only; a one-step error below that
    of the constant mean; checkpoints; for the capability "additive_statistics": sums of two agents equal the sums over all their data, and
    a model that uses the sum predicts like a model of all data; the methods of the other capabilities. Raises `ContractError`.
    """
    _WorldModelCheck(settings, discrete).run()


class _WorldModelCheck(ComponentContract):
    settings: WorldModelSettings

    def __init__(self, settings: WorldModelSettings, discrete: bool) -> None:
        super().__init__("world model", "world_model", settings, WorldModelSettings)
        self.discrete, self.features = discrete, made_up_data.features(discrete)

    def model(self) -> WorldModel:
        made: WorldModel = self.make(self.features, 0, 1)
        return made

    def data(self, seed: int, rows: int = ROWS) -> ModelData:
        return made_up_data.transitions(self.discrete, rows, np.random.default_rng(seed))

    def run(self) -> None:
        model = self.model()
        self.groups(model, self.settings.groups)
        self.train(model)
        test = self.data(10_000, TEST)
        with self.calling("predict(observation, action)"):
            prediction = model.predict(test.observation, test.action)
        self.prediction(prediction, "predict")
        again = model.predict(test.observation, test.action)
        self.require(_same(prediction, again), "predict returns different results for equal inputs", "return the mean without noise")
        sampled = self.repeats("sample", lambda random: model.sample(test.observation, test.action, random), _same)
        self.prediction(sampled, "sample")
        with self.calling("error(data)"):
            error = model.error(test)
        text = f"error of the linear system is {error} after training"
        self.require(np.isfinite(error) and 0 <= error < 1, text, "the constant mean has 1: compare predict with next_observation")
        self.capabilities(model, test)
        if isinstance(model, AdditiveWorldModel):
            self.additive()
        self.checkpoint(model, self.model())
        self.metrics(model.metrics(), "metrics()")

    def train(self, model: WorldModel) -> None:
        members = int(getattr(self.settings, "members", 1))
        for number in range(FITS):
            if isinstance(model, AdditiveWorldModel):
                with self.calling("absorb(data)"):
                    model.absorb(self.data(number))
            with self.calling("fit(data)"):
                metrics = model.fit([self.data(members * number + i) for i in range(members)])
            self.metrics(metrics, "fit")
            if model.ready and number >= FITS // 2:
                return
            if model.ready and isinstance(model, AdditiveWorldModel):
                return
        text = f"the model is not ready after {FITS} updates with {ROWS} transitions each"
        self.require(model.ready, text, "return True from `ready` once predictions may be used")

    def prediction(self, prediction: Prediction, call: str) -> None:
        fits = isinstance(prediction, Prediction)
        self.require(fits, f"{call} returned a {type(prediction).__name__}", "return a Prediction")
        shape = (TEST, made_up_data.SIZE)
        self.array(prediction.observation, f"observation of {call}", shape, "f")
        self.array(prediction.reward, f"reward of {call}", (TEST,), "f")
        self.array(prediction.terminated, f"terminated of {call}", (TEST,), "f")
        self.array(prediction.epistemic, f"epistemic of {call}", shape, "f", 0.0)
        self.array(prediction.aleatoric, f"aleatoric of {call}", shape, "f", 0.0)

    def capabilities(self, model: WorldModel, test: ModelData) -> None:
        declared = self.settings.capabilities
        if "sampleable" in declared:
            with self.calling('draw, declared as "sampleable",'):
                function = model.draw(np.random.default_rng(0))
                one, other = function(test.observation, test.action), function(test.observation, test.action)
            self.prediction(one, "a drawn function")
            self.require(_same(one, other), "a drawn function returns different results for equal inputs", "draw once, in `draw`")
        if "plan_aware" in declared:
            with self.calling('condition_on_plans, declared as "plan_aware",'):
                model.condition_on_plans([(test.observation[:3], test.action[:3])])
                model.condition_on_plans([])
        text = "the model is an AdditiveWorldModel and the settings do not declare it"
        fits = "additive_statistics" in declared or not isinstance(model, AdditiveWorldModel)
        self.require(fits, text, 'add "additive_statistics" to capabilities')

    # --- sums -------------------------------------------------------------------------------------------------------------------------

    def absorbing(self, *seeds: int) -> AdditiveWorldModel:
        model = self.model()
        if not isinstance(model, AdditiveWorldModel):
            raise TypeError(f"{type(model).__name__} is not an AdditiveWorldModel")
        for seed in seeds:
            data = self.data(seed)
            data.next_observation += np.float32(0.1 * seed)  # the data of two agents lead to different models
            model.absorb(data)
        return model

    def additive(self) -> None:
        one, other, both = self.absorbing(1), self.absorbing(2), self.absorbing(1, 2)
        self.require(
            one.basis_id == other.basis_id, "two models of equal settings differ in basis_id", "derive it from settings and shapes only"
        )
        self.require(0 < len(one.basis_id) <= 64, f"basis_id has {len(one.basis_id)} characters", "return 1 to 64")
        self.require(one.transitions == ROWS, f"transitions is {one.transitions} after {ROWS} were absorbed", "count each of them once")
        empty = self.model()
        with self.calling("statistics() without data"):
            nothing = empty.statistics() if isinstance(empty, AdditiveWorldModel) else np.zeros(0)
        sums = [model.statistics() for model in (one, other, both)]
        for array in (nothing, *sums):
            self.array(array, "statistics()", nothing.shape, np.dtype(np.float64))
        self.require(not nothing.any(), "statistics() without data is not zero", "return zeros")
        close = bool(np.allclose(sums[0] + sums[1], sums[2], rtol=1e-6, atol=1e-6 * np.abs(sums[2]).max()))
        self.require(
            close, "the sums of two agents differ from the sums over all their data", "add a function of each transition, and nothing else"
        )
        with self.calling("check(statistics())", "it must accept the sums of an agent"):
            one.check(sums[0])
        cure = "raise ValueError with the reason"
        self.refuses("check accepts sums that are not finite", cure, lambda: one.check(np.full_like(nothing, np.nan)))
        self.refuses("use accepts a total of another length", cure, lambda: one.use(nothing[:-1], True))
        with self.calling("published(), use(total, True), refit()"):
            one.published()
            one.use(sums[0] + sums[1], True)
            self.metrics(one.refit(), "refit")
            both.refit()
        test = self.data(3, TEST)
        found, expected = (model.predict(test.observation, test.action).observation for model in (one, both))
        same = np.allclose(found, expected, atol=1e-3)
        text = "a model that uses the sum over two agents predicts differently from a model of all their data"
        self.require(same, text, "compute the model from the newest total in `refit`")


def _same(one: Prediction, other: Prediction) -> bool:
    return np.array_equal(one.observation, other.observation)
