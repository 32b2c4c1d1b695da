"""Where a site is and how to get in, with what an OpenSSH client configuration adds to it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import paramiko

from rrm.errors import SiteUnavailable

_MOST_JUMPS = 4


@dataclass(frozen=True)
class Target:
    """A site as its connection sees it; equal targets share one connection.

    `host_key` is "ssh-ed25519 AAAA…" as it was stored; `identity` names a private key file; `config` an ssh_config(5)
    file. `python` and `directory` are the site's interpreter and our folder there (in the account's home unless
    absolute); `installation` keeps two managers that share an account apart.
    """

    site: str
    host: str
    port: int = 22
    username: str = ""
    identity: Path | None = None
    host_key: str = ""
    config: Path | None = None
    python: str = "python3"
    directory: str = ".rrm"
    installation: str = ""

    @property
    def folder(self) -> str:
        """Our folder at the site."""
        return f"{self.directory.rstrip('/')}/{self.installation or 'rrm'}"


@dataclass(frozen=True)
class Hop:
    """One host on the way, everything looked up. `known_key` None: the key is looked for in `known_hosts`."""

    host: str
    port: int
    username: str
    identities: tuple[Path, ...]
    known_key: str | None
    known_hosts: Path


def route_to(target: Target) -> list[Hop]:
    """The hosts to go through, the target's own last. Raises SiteUnavailable for a senseless configuration."""
    config = paramiko.SSHConfig()
    if target.config is not None:
        try:
            config = paramiko.SSHConfig.from_path(str(target.config))
        except (OSError, paramiko.ConfigParseError) as error:
            raise SiteUnavailable(f"The SSH configuration {target.config} cannot be read: {error}") from None
    found = config.lookup(target.host)
    last = _hop(found, target.port, target.username, target.host_key)
    if target.identity is not None:
        last = replace(last, identities=(target.identity,))
    return [*_jumps(config, found.get("proxyjump", "")), last]


def _jumps(config: paramiko.SSHConfig, listed: str) -> list[Hop]:
    """The hosts of ProxyJump, `[user@]host[:port],…`; their keys are those of the known_hosts file."""
    names = [name.strip() for name in listed.split(",") if name.strip() and listed.lower() != "none"]
    if len(names) > _MOST_JUMPS:
        raise SiteUnavailable(f"ProxyJump goes through {len(names)} hosts; more than {_MOST_JUMPS} make no sense.")
    hops = []
    for name in names:
        user, _, place = name.rpartition("@")
        host, colon, port = place.partition(":")
        hops.append(_hop(config.lookup(host), int(port) if colon and port.isdecimal() else 22, user, None))
    return hops


def _hop(found: paramiko.SSHConfigDict, port: int, username: str, known_key: str | None) -> Hop:
    """What was given, completed by the configuration."""
    configured = str(found.get("port", ""))
    return Hop(
        host=str(found["hostname"]),
        port=int(configured) if port == 22 and configured.isdecimal() else port,
        username=username or str(found.get("user", "")),
        identities=tuple(Path(name).expanduser() for name in found.get("identityfile", ())),
        known_key=known_key,
        known_hosts=Path(str(found.get("userknownhostsfile", "~/.ssh/known_hosts")).split()[0]).expanduser(),
    )


def fingerprint(key: str) -> str:
    """ "SHA256:…" of a public key line "TYPE BASE64", as ssh-keygen(1) prints it. Raises ValueError."""
    words = key.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error):
        raise ValueError("A host key is a type and base64 text, as in a known_hosts file.") from None
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def way_in(target: Target) -> tuple[str, int, int]:
    """The host and port that are connected to first, and how many hosts come after it. Raises SiteUnavailable."""
    first, *others = route_to(target)
    return first.host, first.port, len(others)
