"""Lockstep of an environment server and its agents."""
