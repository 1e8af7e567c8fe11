"""Fixed policies of the particle worlds, which read nothing but the agent's own observation. They record data for offline learning.

All push with the force of a proportional-derivative controller, f = clip(3 r - 1.5 v, -1, 1), for a target at r and the own velocity v;
discrete actions are the unit force along the larger component of f, or none where both are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_factory import ScriptedPolicy
from env_server.environments.particles.particle_world import UNIT_FORCES
from protocols.spaces.layout import Layout

Floats = NDArray[np.float64]
_STRENGTH, _DAMPING, _SMALL = 3.0, 1.5, 0.1
_EDGE = 0.9


def _field(layout: Layout, observation: NDArray[Any], name: str) -> Floats:
    """`[K, n, 2]`: the vectors of a field; n = 0 where the layout has it not."""
    for field in layout.fields:
        if field.name == name:
            return observation[:, field.start : field.start + field.size].reshape(len(observation), -1, 2).astype(np.float64)
    return np.zeros((len(observation), 0, 2), np.float64)


def _act(layout: Layout, force: Floats) -> NDArray[Any]:
    """The action for `force[K, 2]`."""
    force = np.asarray(np.clip(force, -1.0, 1.0))
    if not layout.actions:
        return force.astype(np.float32)
    best: NDArray[np.int64] = (force @ UNIT_FORCES.T).argmax(axis=1)
    best[np.abs(force).max(axis=1) < _SMALL] = 0
    return best[:, None].astype(np.int32)


def _landmark(layout: Layout, observation: NDArray[Any]) -> Floats:
    """`[K, 2]`: the landmark that is the agent's own when the nearest pair of an agent and a landmark is matched first, then the nearest
    pair of those left, and so on. All agents that see each other find the same pairs. Entities at 0 are absent."""
    landmarks, others = _field(layout, observation, "landmarks"), _field(layout, observation, "agents")
    bodies = np.concatenate([np.zeros((len(others), 1, 2)), others], axis=1)
    apart = np.linalg.norm(bodies[:, :, None] - landmarks[:, None], axis=3)
    absent: NDArray[np.bool_] = (landmarks == 0).all(axis=2)
    apart[:, 1:][~others.any(axis=2)] = np.inf
    apart = np.where(absent[:, None], np.inf, apart)
    copies, count = np.arange(len(landmarks)), landmarks.shape[1]
    own = np.full(len(landmarks), -1)
    for _ in range(min(count, bodies.shape[1])):
        body, landmark = np.divmod(apart.reshape(len(apart), -1).argmin(axis=1), count)
        own = np.where((body == 0) & (own < 0) & np.isfinite(apart[copies, body, landmark]), landmark, own)
        apart[copies, body], apart[copies, :, landmark] = np.inf, np.inf
    target: Floats = landmarks[copies, np.where(own < 0, np.where(absent, np.inf, np.linalg.norm(landmarks, axis=2)).argmin(axis=1), own)]
    return target


def _velocity(layout: Layout, observation: NDArray[Any]) -> Floats:
    velocity: Floats = _field(layout, observation, "velocity")[:, 0]
    return velocity


def cover(agent: str, layout: Layout, observation: NDArray[Any]) -> NDArray[Any]:
    """Go to the own landmark: each agent has one of its own, found by matching the nearest pairs first."""
    return _act(layout, _STRENGTH * _landmark(layout, observation) - _DAMPING * _velocity(layout, observation))


def leave(agent: str, layout: Layout, observation: NDArray[Any]) -> NDArray[Any]:
    """Go away from the landmark to which `cover` goes: data that is worse than random."""
    return _act(layout, -_STRENGTH * _landmark(layout, observation))


def chase(agent: str, layout: Layout, observation: NDArray[Any]) -> NDArray[Any]:
    """Predators go to where the prey is about to be; the prey goes away from all of them, and from the border."""
    bodies, velocity = _field(layout, observation, "bodies"), _velocity(layout, observation)
    prey_velocity = _field(layout, observation, "prey_velocity")
    if prey_velocity.shape[1]:
        return _act(layout, _STRENGTH * (bodies[:, -1] + 0.1 * prey_velocity[:, 0]) - _DAMPING * velocity)
    square = np.maximum((bodies**2).sum(axis=2, keepdims=True), 1e-6)
    position = _field(layout, observation, "position")[:, 0]
    outside = np.where(np.abs(position) > _EDGE, position, 0.0)
    return _act(layout, -(bodies / square).sum(axis=1) - 10.0 * outside)


POLICIES: Mapping[str, Mapping[str, ScriptedPolicy]] = {
    "simple_spread": {"cover": cover, "leave": leave},
    "simple_tag": {"chase": chase},
}
"""by the name of the world"""
