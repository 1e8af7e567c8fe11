"""Ensemble of probabilistic networks."""
