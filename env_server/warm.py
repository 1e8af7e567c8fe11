"""Imported by the warm parent of all nodes, so that the environment server shares what agents load too."""

from __future__ import annotations

import env_server.landmarks.environment
import env_server.main
import env_server.reward_collection.environment  # noqa: F401
