"""Waiting for a renderer that does not come."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.acceptance.stack import running_rrm

pytestmark = pytest.mark.acceptance
NEVER_ANSWERS = {
    "id": "deaf",
    "renderer": "external",
    "command_line": f"{sys.executable} -c 'import time; time.sleep(600)'",
    "process_rest_parameters_format": "${rest_port}",
    "sites": ["local"],
    "max_nodes": 1,
}


def test_waiting_in_vain_ends_when_its_time_is_over_however_seldom_the_loops_turn(folder: Path) -> None:
    with running_rrm(folder, RRM_RECONCILE_SECONDS="600") as stack, stack.client() as client:
        client.call("POST", "resource/", json=NEVER_ANSWERS)
        body = client.call("POST", "session/", json={"resource": "deaf", "max_wait": 12}).json()
        assert body["state"] == "PENDING"
        over = client.until(lambda: client.get(f"session/{body['id']}/"), lambda found: found["state"] == "FAILED")
        assert over["reason"].startswith("No renderer became free")
        late = datetime.fromisoformat(over["finished_at"]) - datetime.fromisoformat(over["wait_until"])
        assert 0 <= late.total_seconds() < 60, "a loop ended it"
