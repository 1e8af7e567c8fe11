"""Rollout buffer for learners that use each transition once."""
