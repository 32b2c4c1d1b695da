"""The way from nodes back to the manager through their site's own connection, where they cannot reach it directly.

The site's host listens for them and leads them here. The process that talks to sites keeps each tunnel open; where it
ends at the site may change with a new connection, so nodes read the address from a file there.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

from rrm.farm.models import Site
from rrm.farm.sites import target_of
from rrm.launchers.connection import REACHES, Connection, Forward, Relay, connection_to

MANAGER_FILE = "manager.url"
_LOOPBACK = "127.0.0.1"
_TELL = """
import os
def main(told):
    folder = os.path.join(os.path.expanduser("~"), told["folder"])
    os.makedirs(folder, mode=0o700, exist_ok=True)
    draft = os.path.join(folder, ".%s.%d" % (told["name"], os.getpid()))
    with open(draft, "w") as file:
        file.write(told["text"])
    os.replace(draft, os.path.join(folder, told["name"]))
"""
_HOSTNAME = "import socket\ndef main(_): return socket.gethostname()"


@dataclass
class Tunnel:
    """A way from a site's machines to the manager: `gateway` is the host of the tunnel as they know it."""

    connection: Connection
    forward: Forward
    gateway: str
    relay: Relay | None = None
    told: str = ""
    _known: tuple[int, bool] = (0, False)

    def port(self) -> int:
        """Where the site's machines reach it now: the forwarded port, or one that leads there from outside the host."""
        if self._is_reached():
            return self.forward.port
        if self.relay is None or not self.relay.is_alive:
            before = self.relay.port if self.relay else 0
            self.relay = self.connection.relay(before, self.forward.port)
        return self.relay.port

    def _is_reached(self) -> bool:
        """Whether the host listens under the name that others use; looked at once for each connection."""
        if self.gateway == _LOOPBACK:
            return True
        number, answer = self._known
        if number != self.connection.traffic.connections:
            place = {"host": self.gateway, "port": self.forward.port}
            answer = bool(self.connection.call(REACHES, place))
            self._known = self.connection.traffic.connections, answer
        return answer

    def close(self) -> None:
        if self.relay is not None:
            self.relay.close()
        self.connection.unlisten(self.forward)


_tunnels: dict[str, Tunnel] = {}
_locks: dict[str, threading.Lock] = {}  # one for each site: a host that does not answer holds up no other


def keep(site: Site) -> str:
    """The manager's address as nodes of a tunnelled site see it; it is open, and written down there.

    The file holds the address and the name by which the manager knows itself, for the Host header of requests.

    Raises SiteUnavailable when the site's host cannot be reached or does not let us listen.
    """
    with _locks.setdefault(site.pk, threading.Lock()):
        tunnel = _tunnels.get(site.pk)
        if tunnel is None or tunnel.connection.target != target_of(site):
            tunnel = _tunnels[site.pk] = opened(site, site.tunnel_port)
        tunnel.connection.run(["true"])  # a connection that broke is opened again, and its forwards with it
        address = f"http://{tunnel.gateway}:{tunnel.port()}"
        if address != tunnel.told:
            text = f"{address} {known_as()}\n"
            told = {"folder": tunnel.connection.target.folder, "name": MANAGER_FILE, "text": text}
            tunnel.connection.call(_TELL, told)
            tunnel.told = address
            Site.objects.filter(pk=site.pk).update(tunnel_port=tunnel.forward.port)
        return address


def known_as() -> str:
    """The name by which the manager knows itself, for the Host header of what comes through a tunnel."""
    return urlsplit(settings.RRM.manager_url).netloc


def _listening_address(site: Site) -> str:
    """Where the site's host listens: for processes of its own, or for those of a cluster's other machines too."""
    return "0.0.0.0" if site.kind == Site.Kind.SLURM else "127.0.0.1"  # noqa: S104 - at the site, for its nodes


def _manager_place() -> tuple[str, int]:
    """Where the manager itself listens, behind whatever proxy stands before it."""
    host = settings.RRM.host
    return "127.0.0.1" if host in {"", "0.0.0.0", "::"} else host, settings.RRM.port  # noqa: S104 - what it is bound to


def opened(site: Site, port: int = 0) -> Tunnel:
    """A tunnel, on `port` if it is free there: living nodes look for us where an earlier one was.

    Raises SiteUnavailable.
    """
    connection = connection_to(target_of(site))
    forward = connection.listen(_listening_address(site), port, _manager_place())
    gateway = site.gateway
    if not gateway:
        gateway = connection.call(_HOSTNAME, None) if site.kind == Site.Kind.SLURM else "127.0.0.1"
    return Tunnel(connection, forward, gateway)
