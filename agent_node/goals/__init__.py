"""Where goals come from, how they are agreed on, and what is relearnt for other goals."""
