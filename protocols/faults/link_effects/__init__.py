"""Faults of links: delay, loss, duplication, reordering, corruption, bandwidth and partitions."""
