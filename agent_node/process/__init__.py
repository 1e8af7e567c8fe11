"""The process of one agent: main loops of both clocks, process faults, and start-up."""
