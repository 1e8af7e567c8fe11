"""The engine for machines that ssh reaches: hosts, calls that don't block, checks of machines, and tasks that run there."""
