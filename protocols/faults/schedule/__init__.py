"""The fault schedule: when each fault begins and ends."""
