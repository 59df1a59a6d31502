"""Ports of this machine for servers that tests start."""

import random
import socket


def free_port() -> int:
    """Return a port of this machine that nobody listens on, outside of the range from which systems take one for every
    connection: nobody else will have it a moment later."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")
