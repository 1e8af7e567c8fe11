"""Datasets: recording episodes of policies, and files of other formats."""
