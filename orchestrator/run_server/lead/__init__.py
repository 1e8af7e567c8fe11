"""Leading a run: registration, progress, status snapshots and the ordered stop."""
