"""Conversations before an episode, in which its members agree on what they will try."""

from protocols.negotiation.proposals import Negotiation, Received, Settled

__all__ = ["Negotiation", "Received", "Settled"]
