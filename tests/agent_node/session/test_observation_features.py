"""Features: angles as sine and cosine, wrapped differences, history."""

import numpy as np
import pytest

from agent_node.session.observation_features import Features, HistoryStack, wrap
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.layout import Layout, ObservationField

LAYOUT = Layout(shape=[3], fields=[ObservationField("distance", 0, 2), ObservationField("bearing", 2, 1, "radian")], actions=[3, 3])


def test_encode_is_the_newest_observation_and_the_changes_to_it() -> None:
    features = Features(LAYOUT, 3)
    observation = np.array([[[0.1, 0.2, 3.0], [0.3, 0.4, -3.0], [0.2, 0.9, -2.0]]], np.float32)
    newest = [0.2, 0.9, np.sin(-2.0), np.cos(-2.0)]
    changes = [2.0, 2.0, 2 * np.pi - 6.0, -1.0, 5.0, 1.0]
    np.testing.assert_allclose(features.encode(observation)[0], [*newest, *changes], rtol=1e-5)
    assert features.policy_spec(3).observation == (10,)
    assert features.policy_spec(3).actions == (3, 3)
    assert features.encode(observation[:0]).shape == (0, 10)


def test_difference_wraps_only_angles_and_follow_inverts_it() -> None:
    features = Features(LAYOUT, 1)
    random = np.random.default_rng(0)
    last = random.uniform(-np.pi, np.pi, (1000, 3)).astype(np.float32)
    following = random.uniform(-np.pi, np.pi, (1000, 3)).astype(np.float32)
    change = features.difference(last, following)
    assert np.all(np.abs(change[:, 2]) <= np.pi + 1e-5)
    assert np.abs(change[:, 0]).max() > np.pi, "a linear component must not be wrapped"
    back = features.follow(last, change)
    np.testing.assert_allclose(back[:, :2], following[:, :2], atol=1e-5)
    np.testing.assert_allclose(wrap(back[:, 2] - following[:, 2]), 0, atol=1e-5)


def test_crossing_the_seam_is_a_small_change() -> None:
    features = Features(LAYOUT, 1)
    change = features.difference(np.array([[0, 0, 3.1]], np.float32), np.array([[0, 0, -3.1]], np.float32))
    assert change[0, 2] == pytest.approx(2 * np.pi - 6.2, abs=1e-5)


def test_images_stay_as_they_are_received() -> None:
    features = Features(Layout(shape=[100, 60, 3], dtype="u1", actions=[5]), 1)
    image = np.zeros((1, 100, 60, 3), np.uint8)
    image[0, 1, 2, 0] = 90
    flat = features.flatten(image)
    assert flat.shape == (1, features.size) == (1, 100 * 60 * 3) and flat.dtype == np.uint8
    encoded = features.encode(flat[:, None])
    assert encoded[0, (1 * 60 + 2) * 3] == encoded.sum() == np.float32(90) * np.float32(1 / 255)
    assert features.policy_spec().image == (100, 60, 3)
    assert Features(Layout(shape=[128], dtype="u1", actions=[5]), 2).policy_spec().image is None


def test_a_history_of_images_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"environment\.images\.frame_stack: 4"):
        Features(Layout(shape=[40, 40, 3], dtype="u1", actions=[5]), 4)


def test_history_repeats_the_first_observation_of_an_episode() -> None:
    features = Features(LAYOUT, 3)
    stack = HistoryStack(2, features)
    member = np.uint16(Flag.MEMBER)
    first = np.uint16(Flag.MEMBER | Flag.FIRST)
    for value, flags in ((1, [first, first]), (2, [member, member]), (3, [member, first])):
        seen = stack.push(np.full((2, 3), value, np.float32), np.array(flags, np.uint16))
    np.testing.assert_array_equal(seen[:, :, 0], [[1, 2, 3], [3, 3, 3]])


def test_waves_of_what_has_bounds_follow_last() -> None:
    fields = [ObservationField("place", 0, 1, "", -5.0, 5.0), ObservationField("free", 1, 1), ObservationField("angle", 2, 1, "radian")]
    features = Features(Layout(shape=[3], fields=fields, low=[-1.0], high=[1.0]), 2, frequencies=2)
    seen = features.encode(np.array([[[1.0, 7.0, 0.5], [2.5, 8.0, 0.4]]], np.float32))[0]
    assert features.policy_spec().observation == seen.shape == (11,)
    np.testing.assert_allclose(seen[:7], Features(features.layout, 2).encode(np.array([[[1.0, 7.0, 0.5], [2.5, 8.0, 0.4]]], np.float32))[0])
    np.testing.assert_allclose(seen[7:], [1.0, 0.0, 0.0, -1.0], atol=1e-6)
    assert not features.enclosed
    with pytest.raises(ValueError, match="no bounds"):
        features.sample_uniform(3, np.random.default_rng(0))


def test_waves_need_bounds() -> None:
    with pytest.raises(ConfigurationError, match=r"agents\.frequencies"):
        Features(LAYOUT, 1, frequencies=3)


def test_anywhere_is_uniform_between_the_bounds_and_over_all_angles() -> None:
    fields = [ObservationField("place", 0, 1, "", 2.0, 6.0), ObservationField("angle", 1, 1, "radian")]
    features = Features(Layout(shape=[2], fields=fields, low=[-1.0], high=[1.0]), 3)
    places = features.sample_uniform(20_000, np.random.default_rng(0))
    assert places.shape == (20_000, 3, 2)
    np.testing.assert_array_equal(places[:, 0], places[:, 2])
    for column, low, high in ((0, 2.0, 6.0), (1, -np.pi, np.pi)):
        values = places[:, 0, column]
        assert low <= values.min() and values.max() <= high
        assert np.histogram(values, 8, (low, high))[0] == pytest.approx(2500, rel=0.1)


# --- action masks -------------------------------------------------------------------------------------------------------------------------


MASKED = Layout(
    shape=[2 + 3],
    actions=[3],
    mask=True,
    fields=[ObservationField("speed", 0, 1, low=-2, high=2), ObservationField("turn", 1, 1, unit="radian"),
            ObservationField("action_mask", 2, 3, low=0, high=1)],
)  # fmt: skip


@pytest.mark.parametrize(("history", "frequencies"), [(1, 0), (3, 0), (1, 2), (2, 1)])
def test_a_mask_is_the_end_of_the_features_and_nothing_else(history: int, frequencies: int) -> None:
    features, random = Features(MASKED, history, frequencies), np.random.default_rng(0)
    plain = Features(Layout(shape=[2], actions=[3], fields=MASKED.fields[:2]), history, frequencies)
    seen = random.uniform(-2, 2, (50, history, 5)).astype(np.float32)
    seen[..., 2:] = random.integers(0, 2, (50, history, 3))
    encoded = features.encode(seen)
    assert encoded.shape == (50, features.width) and features.width == plain.width + 3
    np.testing.assert_array_equal(encoded[:, -3:], seen[:, -1, 2:])
    np.testing.assert_array_equal(encoded[:, :-3], plain.encode(seen[..., :2]))
    assert features.policy_spec().mask == 3 and plain.policy_spec().mask == 0


def test_predicted_masks_are_masks() -> None:
    features = Features(MASKED, 1)
    following = features.follow(np.array([[0.0, 0.0, 1.0, 0.0, 1.0]]), np.array([[0.5, 0.1, -0.4, 0.6, -0.6]]))
    np.testing.assert_allclose(following, [[0.5, 0.1, 1.0, 1.0, 0.0]], atol=1e-6)
    assert features.enclosed and (features.sample_uniform(20, np.random.default_rng(0))[..., 2:] == 1).all()


def test_a_mask_needs_a_vector_that_has_room_for_it() -> None:
    for wrong in (Layout(shape=[3], actions=[3], mask=True), Layout(shape=[9], dtype="u1", actions=[3], mask=True)):
        with pytest.raises(ConfigurationError, match="an action mask of 3 numbers has no place"):
            Features(wrong, 1)


def test_while_an_agent_waits_its_history_stays() -> None:
    stack = HistoryStack(2, Features(Layout(shape=[1], actions=[2]), 2))
    plays, waits, first = int(Flag.MEMBER), int(Flag.MEMBER | Flag.WAITING), int(Flag.MEMBER | Flag.FIRST)
    rows = [[first, waits], [waits, first], [plays, waits], [waits, plays]]
    for tick, flags in enumerate(rows):
        found = stack.push(np.full((2, 1), tick, np.float32), np.array(flags, np.uint16)).copy()
    assert found[:, :, 0].tolist() == [[0, 2], [1, 3]]
