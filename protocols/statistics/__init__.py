"""Sums of sufficient statistics over all agents: by a ledger, by push-sum, or by synchronous averaging."""
