"""Imagined transitions, reward models, and optimism under model uncertainty."""
