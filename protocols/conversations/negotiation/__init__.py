"""Conversations before an episode, in which its members agree on what they will try."""

from protocols.conversations.negotiation.proposals import Negotiation, NegotiationSettled, ProposalReceived

__all__ = [
    "Negotiation",
    "NegotiationSettled",
    "ProposalReceived",
]
