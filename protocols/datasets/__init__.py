"""Stored experience of a group of agents: one shard for each agent, joined by the numbers of episodes, and a manifest."""
