"""Images before they are sent: order of axes, size, grayscale, stacked frames."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec

from env_server.adapters.image_observations import ImageEncoder, is_image
from env_server.adapters.parallel_adapter import ParallelCopies
from env_server.adapters.parallel_conversions import SingleAgentParallel, parallel_from_aec
from env_server.adapters.space_translation import translate
from env_server.settings import ImageSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError


def box(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


def random_image(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoder(*shape: int, **settings: Any) -> ImageEncoder:
    return ImageEncoder("agent-0", box(*shape), ImageSettings(**settings))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_pixels_are_means_of_boxes(channels: int) -> None:
    image = random_image(12, 8, channels)
    found = encoder(12, 8, channels, size=[4, 4])(image)
    means = image.reshape(4, 3, 4, 2, channels).mean(axis=(1, 3))
    assert found.dtype == np.uint8 and found.shape == (4, 4, channels)
    assert np.abs(found - means).max() <= 1.0, "rounded along each axis"


@pytest.mark.parametrize(("sides", "size"), [((25, 17), (10, 10)), ((210, 160), (84, 84)), ((457, 120), (84, 84)), ((96, 85), (84, 84))])
def test_every_pixel_is_in_one_box(sides: tuple[int, int], size: tuple[int, int]) -> None:
    reduce = encoder(*sides, 1, size=size)
    for axis in (0, 1):
        for place in range(sides[axis]):
            image = np.zeros((*sides, 1), np.uint8)
            image[place if axis == 0 else slice(None), place if axis == 1 else slice(None)] = 255
            assert np.count_nonzero(reduce(image).any(axis=1 - axis)) == 1, place
    assert (reduce(np.full((*sides, 1), 77, np.uint8)) == 77).all()


def test_sides_are_reduced_each_on_its_own_and_never_enlarged() -> None:
    assert encoder(457, 120, 3).shape == (84, 84, 3)
    assert encoder(40, 120, 3).shape == (40, 84, 3)
    assert encoder(64, 64, 3).shape == (64, 64, 3)
    assert encoder(457, 120, 3, size=None).shape == (457, 120, 3)
    image = random_image(64, 64, 3)
    assert (encoder(64, 64, 3)(image) == image).all()


def test_grayscale_has_the_weights_of_bt_601() -> None:
    image = random_image(9, 7, 3)
    found = encoder(9, 7, 3, grayscale=True)(image)
    assert found.shape == (9, 7, 1)
    assert np.abs(found[..., 0] - image @ np.array([0.299, 0.587, 0.114])).max() <= 1.0
    assert encoder(9, 7, grayscale=True).shape == (9, 7, 1), "it is grayscale already"
    with pytest.raises(ConfigurationError, match=r"environment\.images\.grayscale: agent-0 observes images with 4 channels"):
        encoder(9, 7, 4, grayscale=True)


def test_other_orders_of_axes_become_height_width_channels() -> None:
    image = random_image(9, 7, 3)
    assert (encoder(3, 9, 7)(np.moveaxis(image, 2, 0)) == image).all()
    assert (encoder(9, 7)(image[..., 0]) == image[..., :1]).all()
    stack = random_image(4, 9, 7, 3)
    found = encoder(4, 9, 7, 3)(stack)
    assert found.shape == (9, 7, 12) and all((found[..., 3 * i : 3 * i + 3] == stack[i]).all() for i in range(4))


def test_bytes_without_two_sides_are_no_images() -> None:
    assert not is_image(box(128)) and not is_image(spaces.Box(0, 1, (9, 9, 3), np.float32)) and is_image(box(9, 9))
    assert translate("a", box(128), spaces.Discrete(2)).layout.shape == [128]


class Numbers(ParallelEnv):  # type: ignore[misc]
    """Images in which every pixel is 10 x episode + step; agent b enters at step 1, and episodes have 3 steps."""

    metadata = {"name": "numbers", "is_parallelizable": True}

    def __init__(self, entering: bool = True) -> None:
        self.entering = entering
        self.possible_agents = ["a", "b"]
        self.episode = -1

    def observation_space(self, agent: str) -> spaces.Box:
        return box(100, 90, 3)

    def action_space(self, agent: str) -> spaces.Discrete:
        return spaces.Discrete(2)

    def _seen(self) -> dict[str, NDArray[np.uint8]]:
        return {agent: np.full((100, 90, 3), 10 * self.episode + self.at, np.uint8) for agent in self.agents}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.episode, self.at = self.episode + 1, 0
        self.agents = ["a"] if self.entering else ["a", "b"]
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        self.at += 1
        self.agents = ["a", "b"]
        seen, over = self._seen(), self.at == 3
        agents, self.agents = self.agents, [] if over else self.agents
        everyone = dict.fromkeys(agents, False)
        return seen, dict.fromkeys(agents, 0.0), everyone, dict.fromkeys(agents, over), {agent: {} for agent in agents}


class Single(gymnasium.Env):
    """The same for one agent."""

    def __init__(self) -> None:
        self.inner = Numbers(entering=False)
        self.observation_space, self.action_space = self.inner.observation_space("a"), self.inner.action_space("a")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.inner.reset()[0]["a"], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        seen, rewards, ends, cuts, _ = self.inner.step({})
        return seen["a"], rewards["a"], ends["a"], cuts["a"], {}


def turns() -> AECEnv:
    made = parallel_to_aec(Numbers(entering=False))
    made.metadata["is_parallelizable"] = True
    return made


@pytest.mark.parametrize("make", [
    lambda: Numbers(entering=False), lambda: parallel_from_aec(turns()), lambda: SingleAgentParallel(Single()),
], ids=["parallel", "aec", "gymnasium"])  # fmt: skip
def test_newest_frames_are_stacked_within_an_episode(make: Any) -> None:
    agents = ["agent-0", "agent-1"][: len(make().possible_agents)]
    environment = ParallelCopies(make, agents, 2, images=ImageSettings(grayscale=True, frame_stack=3))
    assert environment.layout("agent-0").shape == [84, 84, 3] and environment.layout("agent-0").dtype == "u1"
    assert environment.reduced_images["agent-0"] == (100, 90, 3)
    seen = [environment.reset(seed=0)] + [environment.step({}) for _ in range(4)]
    rows = [tick.agents["agent-0"].observation[1, 50, 50].tolist() for tick in seen]
    assert rows == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [10, 10, 10]]
    assert (seen[2].agents["agent-0"].observation[1] == [0, 1, 2]).all(), "earlier ticks are not overwritten"


def test_a_stack_begins_when_an_agent_enters() -> None:
    environment = ParallelCopies(Numbers, ["agent-0", "agent-1"], 1, images=ImageSettings(grayscale=True, frame_stack=2))
    environment.reset(seed=0)
    seen = [environment.step({}).agents["agent-1"] for _ in range(2)]
    assert seen[0].flags[0] & Flag.FIRST and seen[0].observation[0, 0, 0].tolist() == [1, 1]
    assert seen[1].observation[0, 0, 0].tolist() == [1, 2]
