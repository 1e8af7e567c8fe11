"""The wire format: messages, codec, routes, and the guard that admits messages."""
