"""Where a node may say that its program answers: the manager will send what people ask for there.

A node that was taken over must not lead the manager to itself, to services of its own machine or network that trust it,
or to the addresses at which clouds tell secrets. What a name resolves to is known only when it is connected to.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from rrm.errors import Invalid

LEAST_PORT = 1024  # below are services of the system, and programs get none of these ports
_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*"
)
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")  # a last part like this makes resolvers read the whole as an address
_IPv = ipaddress.IPv4Address | ipaddress.IPv6Address


def endpoint(told: str, *, loopback: bool, names: Collection[str] | None = None) -> str:
    """`told` as "host:port", or Invalid.

    `loopback`: whether the node's own machine is reached where it says 127.0.0.1. `names`: all that it may say beside
    that; None is any name or address of a machine.
    """
    host, _, port = told.rpartition(":")
    if not (port.isascii() and port.isdecimal() and LEAST_PORT <= int(port[:6]) < 2**16):
        raise Invalid("address", f"Must end with a port from {LEAST_PORT} to 65535.")
    address = _address(host)
    is_loopback = address.is_loopback if address else _is_localhost(host)
    if address is None and not is_loopback and not _is_name(host):
        raise Invalid("address", "Must be host:port.")
    if is_loopback and not loopback:
        raise Invalid("address", "The manager does not reach the node at an address of its own machine.")
    if not is_loopback and names is not None and host not in names:
        raise Invalid("address", "Must be this machine.")
    if address and not is_loopback and not _is_machine(address):
        raise Invalid("address", "Must be the address of a machine.")
    return told


def _address(host: str) -> _IPv | None:
    """The address that it is, an IPv6 one in brackets; None for a name."""
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        found = ipaddress.IPv6Address(host[1:-1]) if bracketed else ipaddress.IPv4Address(host)
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def _is_name(host: str) -> bool:
    return bool(_NAME.fullmatch(host)) and not _NUMBER.fullmatch(host.rpartition(".")[2].lower())


def _is_localhost(host: str) -> bool:
    return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _is_machine(address: _IPv) -> bool:
    return not (address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved)


def is_loopback(host: str) -> bool:
    """Whether it says "this machine" on every machine; an IPv6 address may be in brackets or not."""
    address = _address(f"[{host}]" if ":" in host and not host.startswith("[") else host)
    return address.is_loopback if address else _is_localhost(host)


def may_connect(host: str, resolved: str, own_names: Collection[str]) -> bool:
    """Whether the manager may connect to the address `resolved` that the registered `host` stands for at this moment.

    A name that was accepted as another machine's must not lead to this one, or to what is no machine.
    """
    address = _address(resolved if ":" not in resolved else f"[{resolved.partition('%')[0]}]")
    if address is None:
        return False
    if address.is_loopback:
        return is_loopback(host) or host in own_names
    return _is_machine(address)
