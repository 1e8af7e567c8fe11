"""Contract of world models."""

from __future__ import annotations

import numpy as np

from agent_node.contracts import AdditiveWorldModel, Array, ModelData, Prediction, WorldModel
from agent_node.world_models.settings import WorldModelSettings
from murmuration.testing import made_up_data
from murmuration.testing.contract import Contract, repeated

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
    contract = Contract(f"world model {type(settings).__name__}")
    fits = isinstance(settings, WorldModelSettings)
    contract.require(fits, "the settings do not derive from WorldModelSettings", "derive them from it")
    _WorldModelCheck(contract, settings, discrete).run()


class _WorldModelCheck:
    def __init__(self, contract: Contract, settings: WorldModelSettings, discrete: bool) -> None:
        self.contract, self.settings, self.discrete = contract, settings, discrete
        self.features = made_up_data.features(discrete)

    def make(self) -> WorldModel:
        model: WorldModel = self.contract.make("world_model", self.settings, self.features, 0, 1)
        return model

    def data(self, seed: int, rows: int = ROWS) -> ModelData:
        return made_up_data.transitions(self.discrete, rows, np.random.default_rng(seed))

    def run(self) -> None:
        model = self.make()
        self.contract.groups(model, self.settings.groups)
        self.train(model)
        test = self.data(10_000, TEST)
        with self.contract.calling("predict(observation, action)"):
            prediction = model.predict(test.observation, test.action)
        self.prediction(prediction, "predict")
        again = model.predict(test.observation, test.action)
        same = np.array_equal(prediction.observation, again.observation)
        self.contract.require(same, "predict returns different results for equal inputs", "return the mean without noise")
        self.sampling(model, test)
        with self.contract.calling("error(data)"):
            error = model.error(test)
        text = f"error of the linear system is {error} after training"
        self.contract.require(np.isfinite(error) and 0 <= error < 1, text, "the constant mean has 1: compare predict with next_observation")
        self.capabilities(model, test)
        if isinstance(model, AdditiveWorldModel):
            self.additive()
        self.contract.checkpoint(model, self.make())
        self.contract.metrics(model.metrics(), "metrics()")

    def train(self, model: WorldModel) -> None:
        members = int(getattr(self.settings, "members", 1))
        for number in range(FITS):
            if isinstance(model, AdditiveWorldModel):
                with self.contract.calling("absorb(data)"):
                    model.absorb(self.data(number))
            with self.contract.calling("fit(data)"):
                metrics = model.fit([self.data(members * number + i) for i in range(members)])
            self.contract.metrics(metrics, "fit")
            if model.ready and number >= FITS // 2:
                return
            if model.ready and isinstance(model, AdditiveWorldModel):
                return
        text = f"the model is not ready after {FITS} updates with {ROWS} transitions each"
        self.contract.require(model.ready, text, "return True from `ready` once predictions may be used")

    def prediction(self, prediction: Prediction, call: str) -> None:
        fits = isinstance(prediction, Prediction)
        self.contract.require(fits, f"{call} returned a {type(prediction).__name__}", "return a Prediction")
        shape = (TEST, made_up_data.SIZE)
        self.contract.array(prediction.observation, f"observation of {call}", shape, "f")
        self.contract.array(prediction.reward, f"reward of {call}", (TEST,), "f")
        self.contract.array(prediction.terminated, f"terminated of {call}", (TEST,), "f")
        self.contract.array(prediction.epistemic, f"epistemic of {call}", shape, "f", 0.0)
        self.contract.array(prediction.aleatoric, f"aleatoric of {call}", shape, "f", 0.0)

    def sampling(self, model: WorldModel, test: ModelData) -> None:
        with self.contract.calling("sample(observation, action, random)"):
            one, other = repeated(lambda random: model.sample(test.observation, test.action, random))
        self.prediction(one, "sample")
        same = np.array_equal(one.observation, other.observation)
        self.contract.require(same, "sample differs for two equal generators", "draw from `random` only")

    def capabilities(self, model: WorldModel, test: ModelData) -> None:
        declared = self.settings.capabilities
        if "sampleable" in declared:
            with self.contract.calling('draw, declared as "sampleable",'):
                function = model.draw(np.random.default_rng(0))
                one, other = function(test.observation, test.action), function(test.observation, test.action)
            self.prediction(one, "a drawn function")
            same = np.array_equal(one.observation, other.observation)
            self.contract.require(same, "a drawn function returns different results for equal inputs", "draw once, in `draw`")
        if "plan_aware" in declared:
            with self.contract.calling('condition_on_plans, declared as "plan_aware",'):
                model.condition_on_plans([(test.observation[:3], test.action[:3])])
                model.condition_on_plans([])
        text = "the model is an AdditiveWorldModel and the settings do not declare it"
        fits = "additive_statistics" in declared or not isinstance(model, AdditiveWorldModel)
        self.contract.require(fits, text, 'add "additive_statistics" to capabilities')

    # --- sums -------------------------------------------------------------------------------------------------------------------------

    def absorbing(self, *seeds: int) -> AdditiveWorldModel:
        model = self.make()
        if not isinstance(model, AdditiveWorldModel):
            raise TypeError(f"{type(model).__name__} is not an AdditiveWorldModel")
        for seed in seeds:
            data = self.data(seed)
            data.next_observation += np.float32(0.1 * seed)  # the data of two agents lead to different models
            model.absorb(data)
        return model

    def additive(self) -> None:
        require = self.contract.require
        one, other, both = self.absorbing(1), self.absorbing(2), self.absorbing(1, 2)
        require(
            one.basis_id == other.basis_id, "two models of equal settings differ in basis_id", "derive it from settings and shapes only"
        )
        require(0 < len(one.basis_id) <= 64, f"basis_id has {len(one.basis_id)} characters", "return 1 to 64")
        require(one.transitions == ROWS, f"transitions is {one.transitions} after {ROWS} were absorbed", "count each of them once")
        empty = self.make()
        with self.contract.calling("statistics() without data"):
            nothing = empty.statistics() if isinstance(empty, AdditiveWorldModel) else np.zeros(0)
        sums = [model.statistics() for model in (one, other, both)]
        for array in (nothing, *sums):
            self.contract.array(array, "statistics()", nothing.shape, "f")
            require(array.dtype == np.float64, f"statistics() has dtype {array.dtype}", "return float64")
        require(not nothing.any(), "statistics() without data is not zero", "return zeros")
        close = bool(np.allclose(sums[0] + sums[1], sums[2], rtol=1e-6, atol=1e-6 * np.abs(sums[2]).max()))
        require(
            close, "the sums of two agents differ from the sums over all their data", "add a function of each transition, and nothing else"
        )
        with self.contract.calling("check(statistics())", "it must accept the sums of an agent"):
            one.check(sums[0])
        self.refused(one, "check", np.full_like(nothing, np.nan))
        self.refused(one, "use", nothing[:-1])
        with self.contract.calling("published(), use(total, True), refit()"):
            one.published()
            one.use(sums[0] + sums[1], True)
            self.contract.metrics(one.refit(), "refit")
            both.refit()
        test = self.data(3, TEST)
        same = np.allclose(self.mean(one, test), self.mean(both, test), atol=1e-3)
        text = "a model that uses the sum over two agents predicts differently from a model of all their data"
        require(same, text, "compute the model from the newest total in `refit`")

    def mean(self, model: WorldModel, test: ModelData) -> Array:
        return model.predict(test.observation, test.action).observation

    def refused(self, model: AdditiveWorldModel, call: str, vector: Array) -> None:
        try:
            model.check(vector) if call == "check" else model.use(vector, True)
        except ValueError:
            return
        what = "sums that are not finite" if call == "check" else "a total of another length"
        self.contract.require(False, f"{call} accepts {what}", "raise ValueError with the reason")
