"""Sharing of episode segments between agents."""
