"""The commands of `orchestrate`, one file a command or a small group. Heavy parts are imported inside them: help comes at once."""
