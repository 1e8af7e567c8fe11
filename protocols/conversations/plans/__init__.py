"""Sharing of planned trajectories between neighbours."""
