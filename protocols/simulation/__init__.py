"""The conversations under virtual time: the same state machines as in real processes, thousands of them in one process.

A `Network` moves messages between nodes and jumps from one moment at which something happens to the next; nothing sleeps and no clock is
read. What the links do to a message, when who dies and everything else is drawn from keyed hashes of the seed, so that two simulations
with one seed are equal in every number.
"""
