"""Points in a plane that reach goals: vector goals in dictionary observations."""

from __future__ import annotations

from env_server.environments.point_reach.point_reach import PointReach

parallel_env = PointReach
