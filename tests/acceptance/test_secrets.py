"""Secrets stay where they belong: not in logs, command lines, environments of nodes, events or answers."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stack import Client, Stack

pytestmark = pytest.mark.acceptance
LISTS = ("site", "resource", "node", "model", "job", "token", "event")


@pytest.fixture
def secrets(stack: Stack, client: Client) -> dict[str, str]:
    """Everything that gives access, by a name that can be shown."""
    kept = {name: stack.secret(name) for name in ("operator.token", "operator.password", "secret.key")}
    assert min(map(len, kept.values())) >= 16
    for node in client.get("node/?page_size=1000")["results"]:
        text = f"launch {node['name']}".encode()
        kept[f"launch token of {node['name']}"] = hmac.new(kept["secret.key"].encode(), text, "sha256").hexdigest()
    return kept


def leaks(secrets: dict[str, str], where: str, text: str) -> list[str]:
    return [f"the {name} is in {where}" for name, secret in secrets.items() if secret in text]


def test_no_secret_is_in_a_log(stack: Stack, burst: dict[str, Any], secrets: dict[str, str]) -> None:
    logs = [*stack.data.rglob("*.log*"), *stack.data.glob("nodes/*/*"), stack.data.with_name("var.out")]
    read = [(str(path), path.read_text(errors="replace")) for path in logs if path.is_file()]
    assert any("registered as" in text for _, text in read), "the logs of nodes are among them"
    assert [leak for where, text in read for leak in leaks(secrets, where, text)] == []


def test_no_secret_is_in_a_command_line_or_a_node(
    stack: Stack, client: Client, burst: dict[str, Any], secrets: dict[str, str]
) -> None:
    client.finished(client.submit(model="burst", width=64, height=64))
    alive = stack.processes()
    assert {"", "web", "worker", "beat", "sites", "broker", "node"} == {process.role for process in alive}
    found = [leak for process in alive for leak in leaks(secrets, process.command, process.command)]
    for node in stack.processes("node"):
        found += leaks(secrets, "a node's environment", Path(f"/proc/{node.pid}/environ").read_text(errors="replace"))
    assert found == []


def test_no_secret_is_in_an_answer_or_an_event(client: Client, burst: dict[str, Any], secrets: dict[str, str]) -> None:
    answers = {path: client.call("GET", path).text for path in _addresses(client, burst)}
    assert len(answers) > 15
    assert [leak for where, text in answers.items() for leak in leaks(secrets, where, text)] == []


def _addresses(client: Client, burst: dict[str, Any]) -> Iterator[str]:
    for noun in LISTS:
        page: str | None = f"{noun}/?page_size=1000"
        while page:
            yield page
            page = client.get(page)["next"]
    yield from ("farm/", "me/", "openapi.json", "resource/mandelbrot/", "resource/mandelbrot/script")
    yield from (f"job/{burst['id']}/{rest}" for rest in ("", "timeline", "events"))
    for node in client.get("node/?page_size=1000")["results"]:
        yield from (f"node/{node['id']}/log?stream={stream}" for stream in ("out", "err"))
    yield "../../metrics"


def test_files_that_hold_secrets_are_the_owners_alone(stack: Stack) -> None:
    for name in ("operator.token", "operator.password", "secret.key", "rrm.sqlite3", "broker.sock"):
        assert (stack.data / name).stat().st_mode & 0o077 == 0, name


def test_nothing_is_told_without_a_token(stack: Stack, burst: dict[str, Any]) -> None:
    stranger = Client(stack.url, "x" * 43).http
    for path in ("farm/", "job/", f"job/{burst['id']}/", f"job/{burst['id']}/image.png", "node/", "event/"):
        assert stranger.get(path).status_code == 401, path
    stranger.close()
