"""Sums of additive model statistics over all agents."""
