"""Getting in: a TCP connection, the host's key checked, the login. Every failure is told in a sentence that helps.

Two facts about paramiko 5 are dealt with here. Without TCP_NODELAY a command on an open connection takes 48 ms in place
of 2. And messages of a channel may leave after its CHANNEL_CLOSE (paramiko issues 1115, 1584, 1705), which OpenSSH
answers by ending the whole connection.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_FAILURE, MSG_CHANNEL_WINDOW_ADJUST

from rrm.errors import SiteUnavailable
from rrm.launchers.connection.target import Hop, Target, fingerprint, route_to

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # whatever goes wrong is told once, by us

CONNECT_SECONDS = 8.0
LOGIN_SECONDS = 12.0
_KEEPALIVE_SECONDS = 15
_RSA = ("rsa-sha2-512", "rsa-sha2-256")
BROKEN = (paramiko.SSHException, EOFError, OSError)
"""What paramiko raises for one and the same broken connection, as it happens to notice it."""


class Refused(SiteUnavailable):
    """The host answered and does not let us in, or must not be trusted: trying again will not mend it."""


class SafeTransport(paramiko.Transport):
    """A transport that sends nothing on a channel after its CHANNEL_CLOSE.

    Messages of different threads are put together in one order and may be sent in another. They are sent under one
    lock here, and those for a channel that this side has closed are dropped, until its number is used again.
    """

    def __init__(self, sock: socket.socket | paramiko.Channel) -> None:
        self._closed_channels: set[int] = set()
        self._order = threading.Lock()
        super().__init__(sock)

    def _send_user_message(self, data: paramiko.Message) -> None:
        raw = data.asbytes()
        if not MSG_CHANNEL_WINDOW_ADJUST <= raw[0] <= MSG_CHANNEL_FAILURE:
            super()._send_user_message(data)  # type: ignore[misc]
            return
        channel = int.from_bytes(raw[1:5], "big")
        with self._order:
            if channel in self._closed_channels:
                return
            if raw[0] == MSG_CHANNEL_CLOSE:
                self._closed_channels.add(channel)
            super()._send_user_message(data)  # type: ignore[misc]

    def _parse_channel_open_success(self, message: paramiko.Message) -> None:
        self._revive(message.asbytes()[4:8])
        super()._parse_channel_open_success(message)  # type: ignore[misc]

    def _parse_channel_open(self, message: paramiko.Message) -> None:
        raw = message.asbytes()
        kind = int.from_bytes(raw[:4], "big")
        self._revive(raw[4 + kind : 8 + kind])
        super()._parse_channel_open(message)  # type: ignore[misc]

    def _revive(self, number: bytes) -> None:
        """The peer uses this channel number anew."""
        with self._order:
            self._closed_channels.discard(int.from_bytes(number, "big"))


def open_transport(target: Target) -> SafeTransport:
    """A logged-in connection to the target, through its jump hosts. Raises SiteUnavailable, or Refused."""
    route = route_to(target)
    through: SafeTransport | None = None
    for hop in route:
        try:
            through = _enter(hop, _reach(hop, through))
        except BaseException:
            if through is not None:
                through.close()
            raise
    if through is None:
        raise SiteUnavailable(f"There is no way to {target.host}.")
    return through


def fetch_host_key(target: Target) -> str:
    """The key that the host shows, "TYPE BASE64", without logging in. Raises SiteUnavailable."""
    *jumps, last = route_to(target)
    through: SafeTransport | None = None
    with contextlib.ExitStack() as opened:
        for hop in jumps:
            through = _enter(hop, _reach(hop, through))
            opened.callback(through.close)
        transport = _negotiate(last, _reach(last, through))
        opened.callback(transport.close)
        return _line(transport.get_remote_server_key())


def _reach(hop: Hop, through: SafeTransport | None) -> socket.socket | paramiko.Channel:
    """A stream to the hop's SSH port, through the host before it if there is one."""
    place = f"{hop.host}:{hop.port}"
    if through is not None:
        try:
            return through.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=CONNECT_SECONDS)
        except BROKEN as error:
            raise SiteUnavailable(f"The jump host does not lead to {place}: {error}.") from None
    try:
        stream = socket.create_connection((hop.host, hop.port), timeout=CONNECT_SECONDS)
    except socket.gaierror as error:
        raise SiteUnavailable(f"The name {hop.host} is not known here: {error.strerror}.") from None
    except TimeoutError:
        raise SiteUnavailable(f"{place} does not answer within {CONNECT_SECONDS:.0f} s.") from None
    except (OSError, UnicodeError) as error:
        raise SiteUnavailable(f"{place} cannot be reached: {getattr(error, 'strerror', None) or error}.") from None
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def _enter(hop: Hop, stream: socket.socket | paramiko.Channel) -> SafeTransport:
    transport = _negotiate(hop, stream)
    try:
        _check_key(hop, _line(transport.get_remote_server_key()))
        _log_in(hop, transport)
        transport.set_keepalive(_KEEPALIVE_SECONDS)
    except BaseException:
        transport.close()
        raise
    return transport


def _negotiate(hop: Hop, stream: socket.socket | paramiko.Channel) -> SafeTransport:
    transport = SafeTransport(stream)
    transport.daemon = True
    transport.banner_timeout = transport.handshake_timeout = CONNECT_SECONDS
    transport.auth_timeout = LOGIN_SECONDS
    transport.channel_timeout = CONNECT_SECONDS
    if hop.known_key:  # so that the host shows the key that is known, if it has it
        kind = hop.known_key.split()[0]
        wanted = _RSA if kind == "ssh-rsa" else (kind,)
        options = transport.get_security_options()
        others = tuple(each for each in options.key_types if each not in wanted)
        with contextlib.suppress(ValueError):  # a kind that paramiko does not know
            options.key_types = wanted + others
    try:
        transport.start_client(timeout=LOGIN_SECONDS)
    except BROKEN as error:
        transport.close()
        said = f": {error}" if str(error) else ""
        raise SiteUnavailable(f"{hop.host}:{hop.port} does not speak SSH as it should{said}.") from None
    return transport


def _line(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def _check_key(hop: Hop, shown: str) -> None:
    """Only the key that somebody accepted is good."""
    seen = fingerprint(shown)
    if hop.known_key is None:
        _check_known_hosts(hop, shown)
    elif not hop.known_key.strip():
        raise Refused(f"No key of {hop.host} has been accepted yet. It shows {seen}; accept it if it is the right one.")
    elif hop.known_key.split()[:2] != shown.split():
        known = fingerprint(hop.known_key)
        raise Refused(
            f"The key of {hop.host} has changed: it shows {seen}, and {known} was accepted. Somebody may be in"
            " between; accept the new key only if the host's administrator confirms it."
        )


def _check_known_hosts(hop: Hop, shown: str) -> None:
    name = hop.host if hop.port == 22 else f"[{hop.host}]:{hop.port}"
    try:
        known = dict(paramiko.HostKeys(str(hop.known_hosts)).lookup(name) or {})
    except OSError:
        known = {}
    kind, text = shown.split()
    if kind not in known:
        raise Refused(f"The jump host {name} is not in {hop.known_hosts}. It shows {fingerprint(shown)}.")
    if known[kind].get_base64() != text:
        raise Refused(f"The key of the jump host {name} is not the one in {hop.known_hosts}.")


def _log_in(hop: Hop, transport: SafeTransport) -> None:
    """Try the named keys, or else the agent's. Raises Refused when none of them is accepted."""
    if not hop.username:
        raise Refused(f"No user name is set for {hop.host}.")
    tried = 0
    for key in _keys(hop):
        tried += 1
        try:
            transport.auth_publickey(hop.username, key)
        except paramiko.AuthenticationException:
            continue
        except BROKEN as error:
            raise SiteUnavailable(f"The login at {hop.host} was cut short: {error}.") from None
        if transport.is_authenticated():
            return
    named = ", ".join(path.name for path in hop.identities) or "the agent"
    said = f"refuses the key of {named} for" if tried else f"was not shown any key ({named} has none) for"
    raise Refused(f"{hop.host} {said} {hop.username}. Is its public half in ~/.ssh/authorized_keys there?")


def _keys(hop: Hop) -> Iterator[paramiko.PKey]:
    agent = _agent_keys()
    if not hop.identities:
        yield from agent
        return
    for path in hop.identities:
        yield _from_file(path, agent)


def _agent_keys() -> tuple[paramiko.PKey, ...]:
    try:
        return tuple(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError):
        return ()


def _from_file(path: Path, agent: tuple[paramiko.PKey, ...]) -> paramiko.PKey:
    """The private key in `path`; one with a passphrase must be in the agent. Raises Refused."""
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise Refused(f"The key file {path.name} can be read by others. Run chmod 600 on it.")
        return paramiko.PKey.from_path(str(path))
    except FileNotFoundError:
        raise Refused(
            f"There is no key file {path.name} in {path.parent}: put it there, readable by its owner alone (chmod 600)."
        ) from None
    except OSError as error:
        raise Refused(f"The key file {path.name} cannot be read: {error.strerror}.") from None
    except paramiko.PasswordRequiredException:
        return _of_agent(path, agent)
    except (paramiko.SSHException, ValueError, TypeError) as error:
        if "password" in str(error).lower() or "encrypted" in str(error).lower():
            return _of_agent(path, agent)
        raise Refused(
            f"The key file {path.name} is no private key that can be used ({type(error).__name__}). Is it the private"
            " half, whole, as ssh-keygen writes it?"
        ) from None


def _of_agent(path: Path, agent: tuple[paramiko.PKey, ...]) -> paramiko.PKey:
    with contextlib.suppress(OSError, IndexError):
        public = path.with_name(path.name + ".pub").read_text().split()[1]
        for key in agent:
            if key.get_base64() == public:
                return key
    raise Refused(f"The key file {path.name} has a passphrase. Add it to the SSH agent, or name one without.")
