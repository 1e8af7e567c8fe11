"""Soft actor-critic for continuous actions."""
