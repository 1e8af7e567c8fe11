"""Conversations between processes: state machines without socket, clock, thread or sleep."""
