"""Whole episodes shared with neighbours."""
