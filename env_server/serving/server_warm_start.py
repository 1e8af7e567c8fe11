"""Imported by the warm parent of all nodes, so that the environment server shares what agents load too."""

from __future__ import annotations
