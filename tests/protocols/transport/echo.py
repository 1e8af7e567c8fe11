"""A server in a process of its own that may open few files: `python -m tests.protocols.transport.echo`.

Reads its pair and the public key of its one guest from standard input, prints its endpoint, and sends back what it receives
until standard input ends; then it prints its counters.
"""

from __future__ import annotations

import json
import resource
import select
import sys

from protocols.conversations.membership.membership_messages import Bye
from protocols.runtime.key_pairs import KeyPair
from tests.protocols.transport.strangers import transport


def main() -> None:
    order = json.loads(sys.stdin.readline())
    resource.setrlimit(resource.RLIMIT_NOFILE, (order["files"], order["files"]))
    server = transport("env-0", KeyPair(order["public"], order["secret"]))
    try:
        server.guard.admit(order["guest"], "agent-0", "agent")
        print(json.dumps(server.bind("env")), flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            for received in server.receive(0.02):
                if isinstance(received.message, Bye):
                    server.send("env", received.src, Bye(code=0, reason=received.message.reason))
        print(json.dumps(dict(server.counters)), flush=True)
    finally:
        server.close()


if __name__ == "__main__":
    main()
