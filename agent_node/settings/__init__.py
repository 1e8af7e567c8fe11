"""Settings of an agent and of its exchanges, and the value types that they share."""
