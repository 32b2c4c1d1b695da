"""Where the manager may be led."""

from __future__ import annotations

import pytest

from rrm.domain.addresses import endpoint, may_connect
from rrm.errors import Invalid


@pytest.mark.parametrize(
    "told", ["n1:5000", "gpu-07.cluster.example:65535", "10.0.0.7:1024", "[2001:db8::7]:5000", "node_3:4000"]
)
def test_machines_of_a_site_may_be_told(told: str) -> None:
    assert endpoint(told, loopback=False) == told


@pytest.mark.parametrize(
    "told",
    [
        "",
        "n1",
        "n1:",
        ":5000",
        "n1:0",
        "n1:22",
        "n1:65536",
        "n1:99999999999",
        "n1:5000/path",
        "n1:\N{ARABIC-INDIC DIGIT FIVE}000",
        "a@b:5000",
        "http://n1:5000",
        "n1 :5000",
        "n1\n:5000",
        "-n1:5000",
        "n..1:5000",
        "2130706433:5000",
        "0x7f000001:5000",
        "127.1:5000",
        "n1.0x1:5000",
        "2001:db8::7:5000",
        "[n1]:5000",
        "169.254.169.254:5000",
        "[fe80::1]:5000",
        "0.0.0.0:5000",
        "[::]:5000",
        "255.255.255.255:5000",
        "224.0.0.1:5000",
        "[::ffff:169.254.169.254]:5000",
        "n" * 254 + ":5000",
    ],
)
def test_nobody_is_led_anywhere_else(told: str) -> None:
    with pytest.raises(Invalid):
        endpoint(told, loopback=True)


@pytest.mark.parametrize(
    "told",
    ["127.0.0.1:5000", "127.9.9.9:5000", "localhost:5000", "A.LOCALHOST:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"],
)
def test_the_loopback_is_for_sites_where_it_is_the_nodes(told: str) -> None:
    assert endpoint(told, loopback=True) == told
    with pytest.raises(Invalid):
        endpoint(told, loopback=False)


def test_a_node_of_this_machine_names_no_other() -> None:
    assert endpoint("here:5000", loopback=True, names=["here"]) == "here:5000"
    for told in ("there:5000", "10.0.0.7:5000"):
        with pytest.raises(Invalid):
            endpoint(told, loopback=True, names=["here"])


@pytest.mark.parametrize(
    ("host", "resolved"),
    [
        *(("n1", "10.0.0.7"), ("10.0.0.7", "10.0.0.7"), ("2001:db8::7", "2001:db8::7"), ("127.0.0.1", "127.0.0.1")),
        *(("localhost", "::1"), ("::1", "::1"), ("here", "127.0.1.1"), ("n1", "2001:db8::7")),
    ],
)
def test_names_that_lead_to_machines_may_be_connected_to(host: str, resolved: str) -> None:
    assert may_connect(host, resolved, ["here"])


@pytest.mark.parametrize(
    ("host", "resolved"),
    [
        *(("n1", "127.0.0.1"), ("n1", "::1"), ("n1", "::ffff:127.0.0.1"), ("10.0.0.7", "127.0.0.1"), ("n1", "0.0.0.0")),  # noqa: S104
        *(("n1", "169.254.169.254"), ("n1", "fe80::1%eth0"), ("n1", "224.0.0.1"), ("here", "169.254.1.1"), ("n1", "")),
    ],
)
def test_a_name_that_leads_here_or_to_no_machine_is_not_followed(host: str, resolved: str) -> None:
    assert not may_connect(host, resolved, ["here"])
