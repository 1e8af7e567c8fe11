"""The process of an environment server: main loops of both clocks, membership, counters, checkpoints."""
