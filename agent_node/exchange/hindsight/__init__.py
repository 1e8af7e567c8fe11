"""Episode traces, partner corrections and shared segments after an episode."""
