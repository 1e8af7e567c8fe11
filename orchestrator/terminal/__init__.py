"""What a person or a script sees of a run that is under way: a table, plain lines, or JSON lines, all drawn from snapshots."""
