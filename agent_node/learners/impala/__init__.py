"""IMPALA: actor-critic with V-trace."""
