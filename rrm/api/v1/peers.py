"""Whether a connection over loopback comes from the account that runs the manager: the kernel knows.

Other people's programs on the same machine reach loopback too, and must not have the manager run commands for them.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED = "01"  # include/net/tcp_states.h; sockets in other states may have lost their owner
_ROOT = 0
_LOOKS = 3  # the table changes while it is read, and may lack a line for a moment


def is_own(meta: Mapping[str, Any], tables: tuple[str, ...] = _TABLES) -> bool:
    """Whether the other end of a request's connection is a process of this account, or of root.

    Where that cannot be found out, as behind a proxy or on another system than Linux, it is not.
    """
    try:
        client = ipaddress.ip_address(meta["REMOTE_ADDR"])
        ports = int(meta["REMOTE_PORT"]), int(meta["SERVER_PORT"])
    except (KeyError, ValueError):
        return False
    if not client.is_loopback or 0 in ports:
        return False
    for _ in range(_LOOKS):
        if owners := set(_owners(client, *ports, tables)):
            return owners <= {os.geteuid(), _ROOT}
    return False


def _owners(
    client: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, server_port: int, tables: tuple[str, ...]
) -> Iterator[int]:
    """The accounts with a connection from that address and port to our port: fields 1 to 3, 7 and 9 of proc(5)."""
    wanted = {f"{_hex(address)}:{port:04X}" for address in _spellings(client)}
    for table in tables:
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            is_ours = fields[1] in wanted and fields[2].endswith(f":{server_port:04X}")
            if is_ours and fields[3] == _ESTABLISHED and fields[9] != "0":
                yield int(fields[7])


def _spellings(client: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iterator[bytes]:
    """The address, and as a socket for both families has it."""
    yield client.packed
    if client.version == 4:
        yield bytes(10) + b"\xff\xff" + client.packed


def _hex(packed: bytes) -> str:
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
