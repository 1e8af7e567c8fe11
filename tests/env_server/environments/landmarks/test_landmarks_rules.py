"""Goals, rewards and geometry of the landmarks arena."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from pydantic import ValidationError

from env_server.environments.landmarks.body_physics import TOP_SPEED, Bodies, observation_layout
from env_server.environments.landmarks.landmarks_environment import step_outcome
from env_server.environments.landmarks.room_geometry import RADIUS, build, smallest_gap
from env_server.environments.landmarks.settings import LandmarksOptions
from protocols.spaces.feature_sets import FeatureSets


def touch(space: FeatureSets, *bodies: int | None) -> np.ndarray:
    """`[1, M, L]`: body m touches landmark bodies[m], or none."""
    touched = np.zeros((1, len(bodies), space.features), np.uint8)
    for body, landmark in enumerate(bodies):
        if landmark is not None:
            touched[0, body, landmark] = 1
    return touched


def rewards(space: FeatureSets, goals: list[tuple[int, ...]], *bodies: int | None, active: tuple[bool, ...] = (True, True)) -> list[float]:
    numbers = np.array([[space.index(goal) for goal in goals]])
    verdict = step_outcome(space, touch(space, *bodies), numbers, np.array([active]), np.array([1]), 250)
    assert (verdict.terminated == (verdict.reward > 0)).all()
    return verdict.reward[0].tolist()


@pytest.mark.parametrize("landmarks", [3, 6])
def test_cooperative_goals_need_both_landmarks_and_no_third(landmarks: int) -> None:
    space = FeatureSets(landmarks)
    assert rewards(space, [(0, 1), (0, 1)], 0, 1) == [1, 1]
    assert rewards(space, [(0, 1), (0, 1)], 1, 0) == [1, 1]
    assert rewards(space, [(0, 1), (0, 1)], 0, 0) == [0, 0]
    assert rewards(space, [(0, 1), (0, 1)], 0, None) == [0, 0]
    assert rewards(space, [(0, 1), (0, 1)], 0, 2) == [0, 0]
    assert rewards(FeatureSets(3, largest=2), [(0, 1)] * 3, 0, 1, 2, active=(True,) * 3) == [0, 0, 0]


def test_a_compatible_pair_teaches_cooperative_goals() -> None:
    space = FeatureSets(3)
    assert rewards(space, [(0,), (0, 1)], 0, 1) == [0.5, 1]
    assert rewards(space, [(0,), (0, 1)], 0, 1, active=(False, True)) == [0, 1], "a parked body counts for its partner"


def test_an_individual_goal_counts_for_either_body_unless_original() -> None:
    assert rewards(FeatureSets(3), [(0,), (2,)], None, 0) == [0.5, 0]
    assert rewards(FeatureSets(3, premium=4), [(0,), (2,)], 2, 0) == [0.25, 0.25]
    original = FeatureSets(3, scheme="original")
    assert rewards(original, [(0,), (2,)], 2, 0) == [0, 0]
    assert rewards(original, [(0,), (2,)], 0, 2) == [0.5, 0.5]


@pytest.mark.parametrize("scheme", ["consistent", "original"])
def test_every_touch_and_goal_agrees_with_the_rule_in_words(scheme: str) -> None:
    space = FeatureSets(3, scheme=scheme)
    for first, second in product([None, 0, 1, 2], repeat=2):
        for one, two in product(space.sets, repeat=2):
            expected = []
            for goal, own, other in ((one, first, second), (two, second, first)):
                if len(goal) == 2:
                    expected.append(1.0 if {own, other} - {None} == set(goal) else 0.0)
                else:
                    hit = own == goal[0] or (scheme == "consistent" and other == goal[0])
                    expected.append(0.5 if hit else 0.0)
            assert rewards(space, [one, two], first, second) == expected


@pytest.mark.parametrize(("landmarks", "goals", "compatible"), [(3, 6, 24), (6, 21, 111)])
def test_numbers_of_goals_and_of_compatible_pairs(landmarks: int, goals: int, compatible: int) -> None:
    space = LandmarksOptions(landmarks=landmarks).goal_space
    assert space.count == goals
    joint = space.encodings[:, None] | space.encodings[None]
    assert int((joint.sum(-1) <= 2).sum()) == compatible


@pytest.mark.parametrize(("landmarks", "best"), [(3, {1: 2.0, 2: 1.5, 4: 1.25, 8: 1.125}), (6, {1: 2.0, 2: 1.714, 4: 1.571, 8: 1.5})])
def test_best_return_of_a_pair(landmarks: int, best: dict[int, float]) -> None:
    for premium, value in best.items():
        assert 2 * LandmarksOptions(landmarks=landmarks, premium=premium).goal_space.rewards.mean() == pytest.approx(value, abs=1e-3)


def test_the_horizon_truncates_only_who_has_not_reached_its_goal() -> None:
    space = FeatureSets(3)
    verdict = step_outcome(space, touch(space, 0, None), np.array([[0, 1]]), np.array([[True, True]]), np.array([250]), 250)
    assert verdict.terminated.tolist() == [[True, False]] and verdict.truncated.tolist() == [[False, True]]


def test_published_geometry() -> None:
    three, six = build(3, 400, 2.5).landmarks, build(6, 400, 2.5).landmarks
    assert [(r.left, r.bottom, r.right, r.top) for r in three] == [(0, 300, 30, 400), (150, 0, 250, 30), (370, 300, 400, 400)]
    assert (six[1].left, six[1].bottom, six[1].right, six[1].top) == (0, 150, 20, 250)
    half = build(3, 200, 2.5).landmarks
    assert (half[1].left, half[1].top) == (75, 15)


@pytest.mark.parametrize("landmarks", [*range(2, 13), 16, 24, 40, 64])
def test_landmarks_stand_at_walls_and_too_far_apart_to_touch_two(landmarks: int) -> None:
    with pytest.raises(ValueError, match="use a room of at least") as refused:
        build(landmarks, 30, 2.5)
    needed = float(str(refused.value).split("at least ")[1].split(" ")[0])
    geometry = build(landmarks, needed, 2.5)
    assert len(geometry.landmarks) == landmarks
    assert smallest_gap(geometry.landmarks) > 2 * (RADIUS + 2.5)
    for r in geometry.landmarks:
        assert r.left == 0 or r.bottom == 0 or r.right == pytest.approx(needed) or r.top == pytest.approx(needed)
        assert r.left >= 0 and r.bottom >= 0 and r.right <= needed + 1e-9 and r.top <= needed + 1e-9


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({"largest": 3}, "raise members to 3"),
        ({"smallest": 2, "largest": 1}, "must not exceed largest"),
        ({"landmarks": 2, "largest": 3, "members": 3}, "must not exceed landmarks"),
        ({"landmarks": 40, "largest": 4, "members": 4, "room": 5000}, "lower landmarks"),
        ({"room": 200, "members": 12}, "enlarge room"),
        ({"room": 200, "landmarks": 24}, "use a room of at least"),
        ({"rom": 200}, "Extra inputs"),
    ],
)
def test_options_that_cannot_be_played_name_the_cure(options: dict[str, object], cure: str) -> None:
    with pytest.raises(ValidationError, match=cure):
        LandmarksOptions(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"room": 200},
        {"landmarks": 6},
        {"landmarks": 6, "room": 200, "restitution": 1.0},
        {"landmarks": 5, "members": 4, "room": 300},
        {"landmarks": 2, "members": 1, "largest": 1, "room": 150},
    ],
)
def test_bodies_stay_apart_and_touch_one_landmark_at_most(options: dict[str, object]) -> None:
    settings = LandmarksOptions(**options)
    bodies = Bodies(settings, 32)
    generator = np.random.default_rng(5)
    for copy in range(32):
        bodies.place(copy, generator)
    assert not bodies.look()[1].any(), "no body starts on a landmark"
    geometry, touches = settings.geometry, 0
    low = np.array([(landmark.left, landmark.bottom) for landmark in geometry.landmarks])
    high = np.array([(landmark.right, landmark.top) for landmark in geometry.landmarks])
    actions = np.zeros((32, settings.members, 2), int)
    for step in range(300):
        if step % 6 == 0:
            actions = generator.choice([0, 1, 1, 2], size=actions.shape)
        bodies.step(actions)
        observation, touched = bodies.look()
        centre = bodies.position[:, :, None]
        depth = RADIUS - np.linalg.norm(centre - np.clip(centre, low, high), axis=-1)
        assert bodies.position.min() >= geometry.low and bodies.position.max() <= geometry.high
        # Walls have the last word, so only a body pressed into a corner may overlap a landmark, and by no more than one step.
        assert depth.max() < TOP_SPEED
        assert touched.sum(-1).max() <= 1
        touches += int(touched.sum())
        assert np.isfinite(observation).all() and np.abs(observation[..., 1::2]).max() <= np.pi + 1e-6
        assert np.linalg.norm(bodies.velocity, axis=-1).max() < 2 * TOP_SPEED
    assert touches > 0


def test_top_speed_turning_and_coming_to_rest() -> None:
    bodies = Bodies(LandmarksOptions(members=1, largest=1, room=2000), 1)
    bodies.heading[:] = 0.0
    for _ in range(60):
        bodies.step(np.array([[[1, 0]]]))
    assert bodies.velocity[0, 0, 0] == pytest.approx(TOP_SPEED, rel=0.01) and bodies.velocity[0, 0, 1] == 0
    for _ in range(10):
        bodies.step(np.array([[[0, 1]]]))
    assert bodies.heading[0, 0] == pytest.approx(2.85)
    bodies.step(np.array([[[0, 1]]]))
    bodies.step(np.array([[[0, 1]]]))
    assert bodies.heading[0, 0] == pytest.approx(12 * 0.285 - 2 * np.pi)


def test_a_collision_keeps_momentum_and_returns_a_quarter_of_the_speed() -> None:
    bodies = Bodies(LandmarksOptions(), 1)
    bodies.position[0] = [[190, 200], [215, 200]]
    bodies.velocity[0] = [[5, 0], [-3, 0]]
    bodies.step(np.zeros((1, 2, 2), int))
    before, after = 0.9 * np.array([[5, 0], [-3, 0]]), bodies.velocity[0]
    assert after.sum(0) == pytest.approx(before.sum(0))
    assert after[1, 0] - after[0, 0] == pytest.approx(0.25 * (before[0, 0] - before[1, 0]))
    assert np.linalg.norm(bodies.position[0, 1] - bodies.position[0, 0]) == pytest.approx(2 * RADIUS)


def test_the_observation_in_numbers() -> None:
    options = LandmarksOptions(velocity=True)
    bodies = Bodies(options, 1)
    bodies.position[0] = [[200, 130], [200, 230]]
    bodies.heading[0] = [0.0, np.pi / 2]
    bodies.velocity[0] = [[2.0, 0.0], [2.0, 0.0]]
    seen, _ = bodies.look()
    names = [field.name for field in observation_layout(options).fields]
    first = dict(zip(names, seen[0, 0].tolist(), strict=True))
    second = dict(zip(names, seen[0, 1].tolist(), strict=True))
    assert first["landmark_1.distance"] == pytest.approx(100 / 400) and first["landmark_1.bearing"] == pytest.approx(-np.pi / 2)
    assert first["other_0.distance"] == pytest.approx((100 - RADIUS) / 400) and first["other_0.bearing"] == pytest.approx(np.pi / 2)
    assert second["other_0.bearing"] == pytest.approx(np.pi, abs=1e-5) or second["other_0.bearing"] == pytest.approx(-np.pi, abs=1e-5)
    assert first["velocity.ahead"] == pytest.approx(0.2) and first["velocity.left"] == pytest.approx(0)
    assert second["velocity.ahead"] == pytest.approx(0, abs=1e-6) and second["velocity.left"] == pytest.approx(-0.2)
