"""The engine for Ray clusters.

    run server   engine   --orders, JSON lines on stdin--> driver   the run server's requests; never waits for Ray
    its machine  driver   --calls of Ray--> actor                   a process of its own: Ray takes over signals, and ends its process
                                                                    when it has lost the cluster
    each machine actor    --invitation on stdin--> host             one per bundle of the placement group

Nothing is detached: when the driver ends, in whatever way, Ray ends its actors, and the system with each the host that it started.
"""
