"""The engine for machines of one's own that ssh reaches.

engine   what the run server asks, answered from channels and calls
calls    command lines, and further calls that don't block
probe    what is wrong with a machine, before anything is started
errand   runs there: says what the machine has, looks for a host, ends it
"""
