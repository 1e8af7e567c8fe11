"""What an agent pays itself: for what is new to it."""
