"""Where the session side listens, and where the manager is told to find it."""

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
BACKLOG = 64


@dataclass(frozen=True)
class Place:
    """`told` is the host that the manager is told; only programs of this machine reach one `on_loopback`."""

    told: str
    on_loopback: bool
    port: int = 0  # any that is free

    def listen(self) -> socket.socket:
        """A listening socket. Raises OSError."""
        if self.on_loopback:
            return socket.create_server((LOOPBACK, self.port), backlog=BACKLOG)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", self.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        return socket.create_server(("", self.port), backlog=BACKLOG)


ALONE = Place(LOOPBACK, on_loopback=True)


def place_for(manager: str, hostname: str, environment: Mapping[str, str] = os.environ) -> Place:
    """Beside a manager, or the end of the way to one, on this very machine nobody else needs to reach the node.

    Machines of a batch system have to be reached by name all the same: what is loopback for one is not for others.
    """
    return ALONE if is_loopback(manager) and "SLURM_JOB_ID" not in environment else Place(hostname, on_loopback=False)


def is_loopback(host: str) -> bool:
    """Whether a host as it stands in an address is this machine for sure."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
