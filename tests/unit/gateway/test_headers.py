"""Which headers pass the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from rrm.farm.sessions import Way
from rrm.gateway import Visit
from rrm.gateway.errors import BadTarget
from rrm.gateway.headers import for_client, for_node, framing

SESSION = UUID("0190d6a5-0000-7000-8000-000000000000")
PREFIX = "/prefix"


async def _never(*_: Any) -> Any:
    raise AssertionError


def visit(headers: Mapping[str, str] | None = None, host: str = "10.0.0.7", key: str = "k") -> Visit:
    lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    way = Way(SESSION, host, 5000, None, key, 300)
    return Visit(way, b"/a/b", PREFIX, {"headers": lines}, _never, _never, lambda: None, _never)


OURS = {b"host": b"10.0.0.7:5000", b"x-rrm-key": b"k", b"x-rrm-session": str(SESSION).encode()}


def test_a_node_gets_our_introduction_and_no_credentials_of_the_client() -> None:
    sent = {
        "Authorization": "Bearer rrm_x",
        "Cookie": "s=1",
        "Cookie2": "s",
        "X-CSRFToken": "t",
        "Origin": "https://x",
        "Proxy-Authorization": "x",
        "Proxy-Foo": "x",
        "Forwarded": "for=1",
        "X-Forwarded-For": "1",
        "X-Real-IP": "1",
        "X-Forwarded-Proto": "https",
        "X-RRM-Key": "forged",
        "X-RRM-Session": "forged",
        "Referer": "https://x/s?t",
        "Host": "evil",
        "Content-Length": "3",
        "Expect": "100-continue",
        "X-Accel-Redirect": "/",
        "Via": "1.1 x",
    }

    assert dict(for_node(visit(sent))) == OURS
    assert len(for_node(visit(sent))) == len(OURS)


def test_what_a_client_says_of_its_wishes_passes() -> None:
    wishes = {
        "Accept": "image/webp",
        "Accept-Encoding": "gzip",
        "Range": "bytes=0-",
        "X-Custom": "caf\xe9",
        "If-Match": "a",
    }

    kept = dict(for_node(visit(wishes)))

    assert {name: value for name, value in kept.items() if name not in OURS} == {
        name.lower().encode(): value.encode("latin-1") for name, value in wishes.items()
    }


def test_headers_of_one_connection_end_there() -> None:
    hops = {
        "Connection": "keep-alive, X-Secret ,x-other",
        "Keep-Alive": "5",
        "TE": "trailers",
        "Trailer": "x",
        "Transfer-Encoding": "chunked",
        "Upgrade": "h2c",
        "HTTP2-Settings": "x",
        "X-Secret": "1",
        "X-Other": "2",
    }

    assert dict(for_node(visit(hops))) == OURS
    answer = [(name.lower().encode(), value.encode()) for name, value in hops.items()]
    assert {name for name, _ in for_client(visit(), 200, answer)} == {name for name, _ in for_client(visit(), 200, [])}


def test_a_program_that_knows_no_key_gets_none() -> None:
    assert b"x-rrm-key" not in dict(for_node(visit(key="")))


def test_an_ipv6_node_is_named_in_brackets() -> None:
    assert dict(for_node(visit(host="2001:db8::7")))[b"host"] == b"[2001:db8::7]:5000"


@pytest.mark.parametrize(
    "name",
    [
        *("Set-Cookie", "Clear-Site-Data", "Strict-Transport-Security", "Service-Worker-Allowed", "WWW-Authenticate"),
        *("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Alt-Svc", "Refresh", "Link", "Report-To"),
        *("X-Accel-Redirect", "X-Accel-Buffering", "X-Sendfile", "X-RRM-Key", "Proxy-Authenticate", "Content-Location"),
        *("Use-As-Dictionary", "Secure-Session-Registration", "Attribution-Reporting-Register-Source", "Critical-CH"),
    ],
)
def test_a_node_cannot_speak_for_the_origin_or_to_a_proxy_before_it(name: str) -> None:
    assert name.lower().encode() not in dict(for_client(visit(), 200, [(name.encode(), b"x")]))


def test_a_node_cannot_lift_the_sandbox() -> None:
    lax = [
        (b"Content-Security-Policy", b"default-src *"),
        (b"X-Frame-Options", b"ALLOWALL"),
        (b"X-Content-Type-Options", b"x"),
        (b"Cross-Origin-Resource-Policy", b"cross-origin"),
    ]

    told = for_client(visit(), 200, lax)

    assert dict(told)[b"content-security-policy"].startswith(b"sandbox; default-src 'none'")
    assert dict(told)[b"x-content-type-options"] == b"nosniff"
    assert dict(told)[b"cross-origin-resource-policy"] == b"same-origin"
    assert len(dict(told)) == len(told)


def test_what_describes_the_body_passes() -> None:
    body = [
        (b"content-type", b"image/jpeg"),
        (b"content-length", b"3"),
        (b"etag", b'"a"'),
        (b"content-encoding", b"br"),
    ]

    assert set(body) <= set(for_client(visit(), 200, body))
    assert b"content-length" not in dict(for_client(visit(), 304, body))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], b"no-store"),
        ([b"max-age=60"], b"private, max-age=60"),
        ([b"public, max-age=60, s-maxage=90", b"immutable"], b"private, max-age=60, immutable"),
    ],
)
def test_only_the_clients_own_cache_may_keep_an_answer(told: list[bytes], expected: bytes) -> None:
    answer = dict(for_client(visit(), 200, [(b"cache-control", value) for value in told]))

    assert answer[b"cache-control"] == expected


def test_a_redirect_is_told_only_within_the_node() -> None:
    assert dict(for_client(visit(), 302, [(b"Location", b"../c")]))[b"location"] == b"/prefix/c"
    assert b"location" not in dict(for_client(visit(), 302, [(b"Location", b"http://169.254.169.254/")]))
    assert b"location" not in dict(for_client(visit(), 302, [(b"Location", b"/a"), (b"Location", b"//evil")]))


def test_a_body_has_one_length_or_is_sent_in_chunks() -> None:
    assert framing([]) == []
    assert framing([(b"content-length", b"5")]) == [(b"content-length", b"5")]
    assert framing([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]) == [
        (b"transfer-encoding", b"chunked")
    ]
    for lengths in ([b"5", b"6"], [b"-1"], [b"+5"], [b"5, 5"], [b""]):
        with pytest.raises(BadTarget):
            framing([(b"content-length", value) for value in lengths])
