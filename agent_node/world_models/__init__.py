"""Models of what the own action leads to, and trajectories imagined with them."""
