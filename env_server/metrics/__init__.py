"""Metrics of training and evaluation episodes."""
