"""A simplified prison: agents that do not affect each other walk between two walls."""
