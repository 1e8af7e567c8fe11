"""Replay buffer of whole episodes with goal relabelling."""
