"""Drawings and facts of a configuration's communication graph."""
