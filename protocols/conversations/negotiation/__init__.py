"""Negotiation before an episode: its members agree on a message, from which each chooses its goal."""
