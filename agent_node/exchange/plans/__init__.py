"""Planned trajectories shared with neighbours."""
