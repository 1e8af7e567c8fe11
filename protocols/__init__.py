"""What crosses a wire, and the rules of each conversation.

Nothing here imports torch or another package of the project: arrays are numpy at the wire, and every conversation is a state
machine without socket, clock, thread or sleep.
"""
