"""One agent from the moment it has joined an environment: components, acting, training, checkpoints."""
