"""What environment and agents agree on: goal spaces, grids and reward maps."""
