"""Exchanges of an agent with its neighbours and with the members of its episodes."""
