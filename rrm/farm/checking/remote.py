"""What is looked at to know whether nodes could work at a site reached over SSH."""

from __future__ import annotations

import contextlib
import functools
import inspect
import socket
import time
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from rrm.errors import SiteUnavailable
from rrm.farm import sites, tunnels
from rrm.farm.checking.letter import Examination, Wrong
from rrm.farm.models import Site
from rrm.launchers import bootstrap, examination
from rrm.launchers.connection import Connection, connection_to, fetch_host_key, fingerprint, way_in
from rrm.launchers.shipping import pythons

LEAST_FREE = 2 * 10**9
MOST_SKEW = 30.0
_ROUTE_SECONDS = 5.0
_LOOPBACK = ("127.", "localhost", "[::1]", "::1")


class Visit:
    """One site during one check; what one examination learns, later ones may use."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._forwards: contextlib.ExitStack = contextlib.ExitStack()
        self.submission: list[str] | None = None  # options with which a job would be accepted

    def __enter__(self) -> Visit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forwards.close()

    @functools.cached_property
    def connection(self) -> Connection:
        return connection_to(sites.target_of(self.site))

    def ask(self, op: str, seconds: float, **request: Any) -> dict[str, Any]:
        """What `rrm.launchers.examination` answers there within so many seconds."""
        answer: dict[str, Any] = self.connection.call(inspect.getsource(examination), {"op": op, **request}, seconds)
        return answer

    @functools.cached_property
    def host(self) -> dict[str, Any]:
        """Facts about the login host, with the clock's lead over ours in seconds, as far as the way there lets know."""
        asked = time.time()
        facts = self.ask("host", 8.0, folder=self.connection.target.folder)
        return {**facts, "lead": facts["time"] - (asked + time.time()) / 2, "took": time.time() - asked}

    def address_for_nodes(self) -> str:
        """The manager's address as processes at the site would use it; a tunnel is opened for as long as the check."""
        if self.site.connection == Site.Connection.DIRECT:
            return str(settings.RRM.manager_url)
        tunnel = tunnels.opened(self.site)
        self._forwards.callback(tunnel.close)
        return f"http://{tunnel.gateway}:{tunnel.port()}"


def examinations(visit: Visit) -> list[Examination]:
    """In the order of the letter, without the scheduler and the way back."""
    return [
        Examination("address", lambda seconds: _address(visit, seconds), 6.0),
        Examination("host key", lambda _: _host_key(visit), 10.0, needs=("address",)),
        Examination("login", lambda seconds: _login(visit, seconds), 8.0, needs=("host key",)),
        Examination("clock", lambda _: _clock(visit), 8.0, needs=("login",)),
        Examination("folder", lambda _: _folder(visit), 8.0, needs=("login",)),
        Examination("python and renderers", lambda seconds: _renderers(visit, seconds), 12.0, needs=("login",)),
    ]


def route_back(visit: Visit) -> Examination:
    return Examination("route to the manager", lambda seconds: _route(visit, seconds), 14.0, needs=("login",))


def _address(visit: Visit, seconds: float) -> str:
    """Does something answer there at all? The first host of the way counts."""
    host, port, others = way_in(visit.connection.target)
    through = f", the first of {others + 1} on the way to {visit.site.host}," if others else ""
    began = time.monotonic()
    connected = False
    try:
        with socket.create_connection((host, port), timeout=seconds) as stream:
            connected = True
            stream.settimeout(seconds)
            banner = stream.recv(255).decode(errors="replace").strip()
    except socket.gaierror as error:
        raise Wrong(f"The name {host} is not known here ({error.strerror}). Is it spelled right?") from None
    except TimeoutError:
        if connected:
            raise Wrong(
                f"Something accepts connections at {host}:{port}{through} and said nothing for {seconds:.0f} s,"
                " as no SSH server would. Is the port right?"
            ) from None
        raise Wrong(
            f"{host}:{port}{through} did not answer within {seconds:.0f} s. Is a firewall in between, or the host down?"
        ) from None
    except OSError as error:
        raise Wrong(
            f"{host}:{port}{through} cannot be reached: {error.strerror}. Does an SSH server run there, on this port?"
        ) from None
    if not banner.startswith("SSH-"):
        raise Wrong(f"{host}:{port} answers, but is no SSH server: it said {banner[:80]!r}. Is the port right?")
    return f"{host}:{port}{through} answered after {time.monotonic() - began:.3f} s as {banner}."


def _host_key(visit: Visit) -> str:
    shown = fetch_host_key(visit.connection.target)
    seen, accepted = fingerprint(shown), visit.connection.target.host_key
    site = visit.site.pk
    how = f"`manage.py check_site {site} --accept {seen}`, or POST site/{site}/accept-host-key, accepts it"
    if not accepted:
        raise Wrong(f"No key of this host has been accepted yet. It shows {seen}. If its administrator says so, {how}.")
    if accepted.split()[:2] != shown.split()[:2]:
        raise Wrong(
            f"The host shows {seen}, and {fingerprint(accepted)} was accepted. It may have been installed anew, or"
            f" somebody is in between. Ask its administrator; if the new key is right, {how}."
        )
    return f"The host shows the key that was accepted, {seen}."


def _login(visit: Visit, seconds: float) -> str:
    connection = visit.connection
    connection.circuit.reset()  # somebody is looking, and may have mended it
    began = time.monotonic()
    done = connection.run(["true"], timeout=seconds)
    took = time.monotonic() - began
    if done.status:
        raise Wrong(
            f"The login works, but a command does not run: {done.complaint}. Does the account have a shell, and may it"
            " run commands without a terminal?"
        )
    key = f"the key {visit.site.identity}" if visit.site.identity else "a key of the agent or the SSH configuration"
    user = visit.site.username or "The configured user"
    return f"{user} got in with {key}{_fingerprint_of(visit)}; a command took {took:.3f} s with the login."


def _fingerprint_of(visit: Visit) -> str:
    """Of the key in the key directory, where its public half lies beside it."""
    identity = visit.connection.target.identity
    with contextlib.suppress(OSError, ValueError):
        if identity is not None:
            return f" ({fingerprint(identity.with_name(f'{identity.name}.pub').read_text(encoding='utf-8'))})"
    return ""


def _clock(visit: Visit) -> str:
    lead = visit.host["lead"]
    said = f"The clock there is {abs(lead):.1f} s {'ahead of' if lead > 0 else 'behind'} the manager's."
    if abs(lead) > MOST_SKEW + visit.host["took"]:
        raise Wrong(f"{said} Certificates, logs and munge need clocks that agree: have NTP set up on both.")
    return said


def _folder(visit: Visit) -> str:
    facts = visit.host
    if "trouble" in facts:
        raise Wrong(
            f"RRM's folder cannot be written to: {facts['trouble']}. Set the site's `directory` to a folder that the"
            " account may write to, on a disk with room."
        )
    said = f"{facts['folder']} can be written to; {facts['free'] / 1e9:.1f} GB are free."
    if facts["free"] < LEAST_FREE:
        raise Wrong(f"{said} Two versions of the renderers and logs need {LEAST_FREE / 1e9:.0f} GB: make room there.")
    return said


def _renderers(visit: Visit, seconds: float) -> str:
    major, minor = visit.host["python"][:2]
    found = bootstrap.look(visit.connection, seconds=seconds)
    if (major, minor) < pythons.OLDEST:
        raise Wrong(
            f"{visit.site.python} there is Python {major}.{minor}; {found.python} would do. Set the site's `python` to"
            f" {found.python.executable}."
        )
    if not found.is_ready:
        size = found.carried.size / 1e6
        rest = {"index": "pip there fetches the rest", "renewed": "the rest is there"}.get(found.way, "that is all")
        return (
            f"{found.python} can run the renderers. This version is not there yet: the first node brings it, or"
            f" `manage.py bootstrap {visit.site.pk}` does ({size:.0f} MB before compression; {rest})."
        )
    test = bootstrap.try_out(visit.connection, found.renderers, seconds)
    return (
        f"{found.python} renders with version {test['version']} ({found.version}), kernel {test['kernel']}, on"
        f" {test['cores']} cores of {visit.host['hostname']}; a tile took {test['seconds']:.2f} s with the start."
    )


def _route(visit: Visit, seconds: float) -> str:
    try:
        address = f"{visit.address_for_nodes()}/healthz"
    except SiteUnavailable as error:
        raise Wrong(f"{error.detail} Does its sshd allow TCP forwarding (AllowTcpForwarding, PermitListen)?") from None
    answer = visit.ask(
        "route",
        seconds,
        address=address,
        known_as=tunnels.known_as() if sites.is_tunnelled(visit.site) else "",
        limit=min(_ROUTE_SECONDS, seconds / 3),
        options=visit.submission,
        python=visit.site.python,
    )
    if "trouble" in answer:
        raise Wrong(f"{address} does not answer from {answer['where']}: {answer['trouble']}. {_advice(visit, address)}")
    status, took = answer["said"].split()[-2:]
    if status != "200":
        raise Wrong(f"{address} answers {status} from {answer['where']}. {_advice(visit, address)}")
    return f"{address} answered {answer['where']} after {took} s."


def _advice(visit: Visit, address: str) -> str:
    if visit.site.connection == Site.Connection.TUNNEL and visit.site.kind == Site.Kind.SLURM:
        return (
            "Compute nodes have to reach the login host: set `gateway` to its name inside the cluster, and see whether"
            " a firewall of the host is in between."
        )
    is_loopback = (urlsplit(address).hostname or "").startswith(_LOOPBACK)
    why = "RRM_MANAGER_URL names this machine by loopback" if is_loopback else "A firewall or a route may be missing"
    return f"{why}: set RRM_MANAGER_URL to an address that the site reaches, or the site's `connection` to `tunnel`."
