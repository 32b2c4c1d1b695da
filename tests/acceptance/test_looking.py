"""A node that was booked through the API, asked as the gateway asks it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.stack import Client, Stack

pytestmark = pytest.mark.acceptance
DEEP = {"center": ["0", "1.0000000000000000000000000001"], "radius": "1e-25", "max_iter": 2000}
WAY = (
    "import json; from rrm.farm.sessions import way_to; way = way_to('{session}', None);"
    " print(json.dumps([way.host, way.port, way.key]))"
)


@pytest.fixture
def session(client: Client) -> Iterator[str]:
    booked = client.call("POST", "session/", json={"resource": "mandelbrot", "params": DEEP, "max_wait": 150}).json()
    client.until(lambda: client.get(f"session/{booked['id']}/"), lambda found: found["state"] == "READY")
    yield booked["id"]
    client.call("DELETE", f"session/{booked['id']}/")


def test_a_booked_node_shows_the_view_it_was_booked_for_to_its_manager_alone(
    stack: Stack, client: Client, session: str
) -> None:
    told = stack.manage("shell", "-c", WAY.format(session=session)).stdout.splitlines()[-1]
    host, port, key = json.loads(told)
    headers = {"X-RRM-Key": key, "X-RRM-Session": session}

    with httpx.Client(base_url=f"http://{host}:{port}", trust_env=False, timeout=20.0) as node:
        assert node.get("/camera").status_code == 403
        assert node.get("/registry", headers=headers).json()["session"] == session
        seen = client.until(
            lambda: node.get("/camera", headers=headers).json(), lambda camera: camera["radius"] == DEEP["radius"]
        )
        picture = node.get("/frame.png?width=64&height=64", headers=headers)

    assert (seen["center"], seen["iterations"], seen["deep"]) == (DEEP["center"], DEEP["max_iter"], True)
    assert picture.content.startswith(b"\x89PNG")
