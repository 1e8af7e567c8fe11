"""One process per agent: it owns its policy, its world model and its replay buffer, and meets others only in messages."""
