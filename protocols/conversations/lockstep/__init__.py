"""Barrier of the logical clock."""
