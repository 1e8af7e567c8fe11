"""Averaging of named parameter groups with graph neighbours."""
