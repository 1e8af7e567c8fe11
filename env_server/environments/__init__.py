"""Environments: contracts, registry, episode schedule, and the built-in environments."""
