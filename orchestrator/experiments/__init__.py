"""Experiments: a grid of configurations times seeds, made as ordinary runs, resumable at any moment, measured and judged."""
