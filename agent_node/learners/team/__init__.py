"""Learners of teams: centralised critics and value mixing, of which every agent has its own copy."""
