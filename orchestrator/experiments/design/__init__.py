"""Experiment files: settings, reading, and the cells generated from them."""
