"""Intrinsic reward: random network distillation."""
