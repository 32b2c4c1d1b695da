"""What a node is asked for, and where its redirects may lead. Pure.

Programs disagree about `..`, encoded slashes and control characters in paths. What could mean something else further on
is refused; everything else is passed as it came, byte for byte.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from rrm.gateway.errors import BadTarget

_PRINTABLE = re.compile(rb"[\x21-\x7e]*")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_SEPARATOR = re.compile(rb"[/\\]")
_MOST_ENCODINGS = 4


def wanted(path: bytes, query: bytes) -> bytes:
    """The request target for the node, of the raw path below the proxy and the raw query. Raises BadTarget."""
    target = (path or b"/") + (b"?" + query if query else b"")
    if not target.startswith(b"/") or not _PRINTABLE.fullmatch(target) or b"#" in target:
        raise BadTarget("A path has printable ASCII characters only, and no fragment.")
    if not is_plain(path):
        raise BadTarget("A path may not contain dot segments, control characters, or these encoded.")
    return target


def is_plain(path: bytes) -> bool:
    """Whether nobody who decodes the path, however often, finds a dot segment or a control character in it."""
    for _ in range(_MOST_ENCODINGS):
        if _CONTROL.search(path) or {b".", b".."} & {part.partition(b";")[0] for part in _SEPARATOR.split(path)}:
            return False
        decoded = unquote_to_bytes(path)
        if decoded == path:
            return True
        path = decoded
    return False


def location(told: str, target: bytes, authority: str, prefix: str) -> str | None:
    """Where the client should go for the node's `Location`; None when that is not on this node.

    `target` is what the node was asked for at `authority`; `prefix` is where the client sees the node's root.
    """
    if not _PRINTABLE.fullmatch(told.encode("utf-8", "replace")) or "\\" in told:
        return None
    try:
        found = urlsplit(urljoin(f"http://{authority}{target.decode('ascii')}", told))
    except ValueError:
        return None
    if (found.scheme, found.netloc) != ("http", authority) or not is_plain(found.path.encode()):
        return None
    query = f"?{found.query}" if found.query else ""
    fragment = f"#{found.fragment}" if found.fragment else ""
    return f"{prefix}{found.path or '/'}{query}{fragment}"
