"""What of a path reaches a node, and which redirects reach a client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.gateway.errors import BadTarget
from rrm.gateway.targets import is_plain, location, wanted

NODE = "10.0.0.7:5000"
PREFIX = "/rendering-resource-manager/v2/session/0190d6a5-0000-7000-8000-000000000000/proxy"


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        (b"", b"", b"/"),
        (b"/", b"", b"/"),
        (b"", b"a=1", b"/?a=1"),
        (b"/frame.jpg", b"w=1&u=http://x/../y%00", b"/frame.jpg?w=1&u=http://x/../y%00"),
        (b"/a%20b/%C3%A9;v=1/...", b"", b"/a%20b/%C3%A9;v=1/..."),
        (b"//evil.example/x", b"", b"//evil.example/x"),
        (b"/http://evil.example:80/", b"", b"/http://evil.example:80/"),
        (b"/@evil.example:80", b"", b"/@evil.example:80"),
        (b"/a%2Fb", b"", b"/a%2Fb"),
    ],
)
def test_paths_and_queries_pass_byte_for_byte(path: bytes, query: bytes, expected: bytes) -> None:
    assert wanted(path, query) == expected


@pytest.mark.parametrize(
    "path",
    [
        *(b"/..", b"/../x", b"/a/../../x", b"/./x", b"/a/.", b"/%2e%2e/x", b"/%2E./x", b"/.%2e/x", b"/..%2fx"),
        *(b"/..;a=b/x", b"/..\\x", b"/%5c..%5cx", b"/%252e%252e/x", b"/%25252e%25252e/x", b"/a%2f..%2fx"),
        *(b"/%00", b"/a%00.jpg", b"/%0d%0aHost:%20evil", b"/%250a", b"/a\r\nX: y", b"/a b", b"/a\x00", b"/\xc3\xa9"),
        *(b"/a#b", b"/%7f", b"/%25252525252e"),
    ],
)
def test_what_may_mean_something_else_further_on_is_refused(path: bytes) -> None:
    with pytest.raises(BadTarget):
        wanted(path, b"")


def test_a_query_that_would_end_the_request_line_is_refused() -> None:
    with pytest.raises(BadTarget):
        wanted(b"/x", b"a=1 HTTP/1.1\r\nX: y")


@given(st.binary(max_size=40))
def test_a_target_is_one_word_whatever_is_asked(path: bytes) -> None:
    try:
        target = wanted(b"/" + path, b"")
    except BadTarget:
        return
    assert len(target.split()) == 1
    assert is_plain(target)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("next", "/a/next"),
        ("../next", "/next"),
        ("/v1/x?y=1#z", "/v1/x?y=1#z"),
        (f"http://{NODE}/v1/x", "/v1/x"),
        (f"http://{NODE}", "/"),
        ("?page=2", "/a/b?page=2"),
        ("/../../../admin/", "/admin/"),
    ],
)
def test_a_redirect_within_the_node_stays_below_the_proxy(told: str, expected: str) -> None:
    assert location(told, b"/a/b", NODE, PREFIX) == PREFIX + expected


@pytest.mark.parametrize(
    "told",
    [
        *(
            "http://169.254.169.254/latest/meta-data",
            "//evil.example/x",
            "https://10.0.0.7:5000/x",
            "ftp://10.0.0.7:5000",
        ),
        *("http://10.0.0.7:5001/", "http://10.0.0.7/", "http://10.0.0.7:5000@evil.example/", "http://x@10.0.0.7:5000/"),
        *(
            "javascript:alert(1)",
            "/\\evil.example",
            "\\\\evil.example",
            "/%2e%2e/%2e%2e/x",
            "/a\r\nSet-Cookie: a=b",
            "/a b",
        ),
        *("http://[::1/", "/%00", "/\xe9"),
    ],
)
def test_a_redirect_to_anywhere_else_is_not_told(told: str) -> None:
    assert location(told, b"/a/b", NODE, PREFIX) is None
