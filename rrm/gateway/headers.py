"""Which headers pass in each direction. Pure.

Towards the node: nothing that proves who the client is. Towards the client: nothing by which a node, which may be any
program, could speak for this origin, and nothing that a proxy in front of us would obey. Names are lower case.
"""

from __future__ import annotations

from collections.abc import Iterable

from rrm.gateway.errors import BadTarget
from rrm.gateway.targets import location
from rrm.gateway.visit import Visit, authority

Headers = list[tuple[bytes, bytes]]

# RFC 9110 section 7.6.1, with those that older programs use.
_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"proxy-authenticate", b"proxy-authorization", b"http2-settings"),
    }
)
_FOR_US_ALONE = frozenset(
    {
        *(b"authorization", b"cookie", b"cookie2", b"x-csrftoken", b"origin", b"referer"),
        *(b"host", b"expect", b"content-length", b"forwarded", b"x-real-ip", b"via"),
    }
)
_FOR_US_ALONE_PREFIXES = (b"proxy-", b"x-forwarded-", b"x-rrm-", b"x-accel-", b"sec-websocket-")
_OF_AN_ORIGIN = frozenset(
    {
        *(b"set-cookie", b"set-cookie2", b"clear-site-data", b"strict-transport-security", b"service-worker-allowed"),
        *(b"alt-svc", b"public-key-pins", b"www-authenticate", b"authentication-info", b"origin-trial", b"accept-ch"),
        *(b"nel", b"report-to", b"reporting-endpoints", b"content-security-policy", b"speculation-rules"),
        *(b"content-security-policy-report-only", b"x-frame-options", b"x-content-type-options", b"referrer-policy"),
        *(b"permissions-policy", b"cross-origin-opener-policy", b"cross-origin-embedder-policy", b"set-login"),
        *(b"cross-origin-resource-policy", b"refresh", b"content-location", b"link", b"sourcemap", b"x-sourcemap"),
        *(b"use-as-dictionary", b"secure-session-registration", b"sec-session-registration", b"critical-ch"),
        *(b"observe-browsing-topics", b"activate-storage-access", b"supports-loading-mode"),
        *(b"location", b"cache-control", b"date", b"server", b"x-sendfile", b"x-lighttpd-send-file"),
    }
)
_OF_AN_ORIGIN_PREFIXES = (b"access-control-", b"attribution-reporting-", b"x-accel-", b"x-rrm-", b"proxy-")
_SHARED_CACHES = (b"public", b"s-maxage", b"private")

# A page that a node sends has an origin of its own, no scripts and no way out. Pictures, fetch and WebSockets of our
# own pages do not look at this.
_SANDBOX: Headers = [
    (b"content-security-policy", b"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]


def for_node(visit: Visit) -> Headers:
    """The headers of a request to the node, without those that say how long its body is."""
    kept = _passing(visit.scope["headers"], _FOR_US_ALONE, _FOR_US_ALONE_PREFIXES)
    return [(b"host", authority(visit.way).encode()), *introduction(visit), *kept]


def introduction(visit: Visit) -> Headers:
    """How the node knows that it is us who ask, and for which session."""
    key = [(b"x-rrm-key", visit.way.key.encode())] if visit.way.key else []
    return [*key, (b"x-rrm-session", str(visit.way.session).encode())]


def framing(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """How the length of a request's body is told to the node; nothing when it has none. Raises BadTarget."""
    told = [(name, value.strip().lower()) for name, value in headers]
    if any(name == b"transfer-encoding" for name, _ in told):
        return [(b"transfer-encoding", b"chunked")]
    lengths = {value for name, value in told if name == b"content-length"}
    if not lengths:
        return []
    if len(lengths) > 1 or not all(value.isdigit() for value in lengths):
        raise BadTarget("A body has one length.")
    return [(b"content-length", lengths.pop())]


def for_client(visit: Visit, status: int, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of the node's answer as the client may see them."""
    told = [(name.lower(), value) for name, value in headers]
    kept = _passing(told, _OF_AN_ORIGIN, _OF_AN_ORIGIN_PREFIXES)
    if status in (204, 304):  # the length is that of a body that is not sent
        kept = [header for header in kept if header[0] != b"content-length"]
    return [*kept, *_location(visit, told), (b"cache-control", _caching(told)), *_SANDBOX]


def _passing(headers: Iterable[tuple[bytes, bytes]], dropped: frozenset[bytes], prefixes: tuple[bytes, ...]) -> Headers:
    """The headers that are neither of one connection alone nor to be dropped."""
    headers = list(headers)
    named = {
        word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",") if word
    }
    gone = _HOP_BY_HOP | dropped | named
    return [(name, value) for name, value in headers if name not in gone and not name.startswith(prefixes)]


def _location(visit: Visit, told: Headers) -> Headers:
    places = [value.decode("latin-1") for name, value in told if name == b"location"]
    if len(places) != 1:
        return []
    place = location(places[0], visit.wanted, authority(visit.way), visit.prefix)
    return [] if place is None else [(b"location", place.encode())]


def _caching(told: Headers) -> bytes:
    """What the node says, for the client's own cache alone; nothing is kept when it says nothing."""
    words = [word.strip() for name, value in told if name == b"cache-control" for word in value.split(b",")]
    kept = [word for word in words if word and not word.lower().startswith(_SHARED_CACHES)]
    return b", ".join([b"private", *kept]) if words else b"no-store"
