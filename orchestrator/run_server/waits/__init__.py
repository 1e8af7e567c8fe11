"""What each process of a run waits for, and the chain to the cause: the answer to `orchestrate why`."""
