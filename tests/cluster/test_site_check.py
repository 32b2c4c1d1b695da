"""The check of a site reads like a letter: what was tried, what was found, what to do. Real daemons, real faults."""

from __future__ import annotations

import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from deployment.minicluster.cluster import MiniCluster
from deployment.minicluster.sshd import SshHost
from rrm.farm.models import Event, Site
from rrm.launchers.connection import fingerprint
from tests import factories as make
from tests.factories import Caller, problem
from tests.hosts import target_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

REMOTE = ["address", "host key", "login", "clock", "folder", "python and renderers"]


@pytest.fixture
def operator() -> Caller:
    return make.caller(make.person("olga", is_operator=True))


@pytest.fixture
def manager(settings: Any, live_server: Any, tmp_path: Path) -> Any:
    """A manager that sites can reach on loopback, with an empty key directory."""
    port = int(live_server.url.rpartition(":")[2])
    settings.RRM = replace(
        settings.RRM, manager_url=live_server.url, host="localhost", port=port, keys_dir=tmp_path, ssh_config=None
    )
    return settings.RRM


def registered(host: SshHost, manager: Any, **fields: Any) -> Site:
    key = manager.keys_dir / f"key{host.port}"
    key.write_text(host.key_file.read_text())
    key.with_name(f"{key.name}.pub").write_text(host.key_file.with_suffix(".pub").read_text())
    key.chmod(0o600)
    target = target_of(host)
    facts = {"kind": "ssh", "host": target.host, "port": target.port, "username": target.username, "identity": key.name}
    facts |= {"host_key": target.host_key, "python": target.python, "directory": target.directory}
    return make.site("far", **{**facts, **fields})


def letter(operator: Caller) -> dict[str, Any]:
    """{name of the check: what it says}"""
    began = time.monotonic()
    answer = operator.post("site/far/check")
    assert answer.status_code == 200
    assert time.monotonic() - began < 90
    body = answer.json()
    assert body["ok"] is all(check["ok"] for check in body["checks"])
    assert all(check["detail"].endswith((".", "?")) and check["seconds"] >= 0 for check in body["checks"])
    return {check["name"]: check for check in body["checks"]}


def wrong(found: dict[str, Any]) -> list[str]:
    return [name for name, check in found.items() if not check["ok"] and not check["detail"].startswith("Not tried")]


def not_tried(found: dict[str, Any]) -> list[str]:
    return [name for name, check in found.items() if check["detail"].startswith("Not tried")]


@pytest.mark.parametrize("connection", ["direct", "tunnel"])
def test_a_host_where_nodes_can_work(ssh_host: SshHost, manager: Any, operator: Caller, connection: str) -> None:
    registered(ssh_host, manager, connection=connection)

    found = letter(operator)

    assert wrong(found) == not_tried(found) == []
    assert list(found) == [*REMOTE, "route to the manager"]
    assert fingerprint(ssh_host.host_key) in found["host key"]["detail"]
    assert fingerprint(ssh_host.key_file.with_suffix(".pub").read_text()) in found["login"]["detail"]
    assert "not there yet" in found["python and renderers"]["detail"]


def test_where_renderers_are_it_says_what_they_would_use(ssh_host: SshHost, manager: Any, operator: Caller) -> None:
    registered(ssh_host, manager)
    out = StringIO()
    call_command("bootstrap", "far", stdout=out)
    assert "Installed in" in out.getvalue()
    call_command("bootstrap", "far", stdout=out)
    assert "nothing was done" in out.getvalue()

    said = letter(operator)["python and renderers"]

    assert said["ok"] is True
    assert "kernel" in said["detail"]
    assert "cores" in said["detail"]


def test_a_cluster_where_jobs_would_be_accepted(cluster: MiniCluster, manager: Any, operator: Caller) -> None:
    site = registered(cluster.login, manager, kind="slurm")
    make.resource(site, name="good", queue="batch")

    found = letter(operator)

    assert wrong(found) == not_tried(found) == []
    assert list(found) == [*REMOTE, "scheduler", "partition and account", "route to the manager"]
    assert "batch" in found["scheduler"]["detail"]
    assert "good (--partition=batch" in found["partition and account"]["detail"]
    assert "a compute node" in found["route to the manager"]["detail"]


def test_a_partition_that_is_not_there_is_named_with_those_that_are(
    cluster: MiniCluster, manager: Any, operator: Caller
) -> None:
    site = registered(cluster.login, manager, kind="slurm")
    make.resource(site, queue="gpu-large")

    found = letter(operator)

    assert wrong(found) == ["scheduler"]
    assert "no partition gpu-large" in found["scheduler"]["detail"]
    assert "batch" in found["scheduler"]["detail"]
    assert not_tried(found) == ["partition and account"]


def test_a_time_limit_that_no_job_of_the_partition_may_have_is_told(
    cluster: MiniCluster, manager: Any, operator: Caller
) -> None:
    site = registered(cluster.login, manager, kind="slurm")
    make.resource(site, queue="short", time_limit=3600)

    found = letter(operator)

    assert "scheduler" in wrong(found)
    assert "asks for 3600 s, and the partition short allows 60 s" in found["scheduler"]["detail"]


def test_a_job_that_the_scheduler_would_refuse_is_shown_with_its_words(
    cluster: MiniCluster, manager: Any, operator: Caller
) -> None:
    site = registered(cluster.login, manager, kind="slurm")
    make.resource(site, name="greedy", queue="batch", memory=10**9)
    make.resource(site, name="modest", queue="batch")

    found = letter(operator)

    assert wrong(found) == ["partition and account"]
    assert "greedy" in found["partition and account"]["detail"]
    assert "refused" in found["partition and account"]["detail"]
    assert "modest" in found["partition and account"]["detail"]
    assert found["route to the manager"]["ok"] is True


def test_a_scheduler_that_is_down_costs_seconds_and_is_told(
    cluster: MiniCluster, manager: Any, operator: Caller
) -> None:
    registered(cluster.login, manager, kind="slurm")
    cluster.slurm.controller.stop()

    found = letter(operator)

    assert wrong(found) == ["scheduler"]
    assert "slurmctld" in found["scheduler"]["detail"]
    assert not_tried(found) == ["partition and account"]


def test_an_ssh_server_that_is_down_ends_the_letter_soon(ssh_host: SshHost, manager: Any, operator: Caller) -> None:
    registered(ssh_host, manager, port=1)

    found = letter(operator)

    assert wrong(found) == ["address"]
    assert "Connection refused" in found["address"]["detail"]
    assert not_tried(found) == [*REMOTE[1:], "route to the manager"]
    assert "address" in found["host key"]["detail"]


def test_a_frozen_host_does_not_hold_the_letter_up(ssh_host: SshHost, manager: Any, operator: Caller) -> None:
    registered(ssh_host, manager)
    ssh_host.freeze()
    try:
        found = letter(operator)
    finally:
        ssh_host.thaw()

    assert wrong(found) == ["address"]


def test_a_host_whose_key_nobody_accepted_shows_it_and_is_accepted(
    ssh_host: SshHost, manager: Any, operator: Caller
) -> None:
    registered(ssh_host, manager, host_key="")
    seen = fingerprint(ssh_host.host_key)

    found = letter(operator)
    assert wrong(found) == ["host key"]
    assert seen in found["host key"]["detail"]
    assert "login" in not_tried(found)

    other = operator.post("site/far/accept-host-key", {"fingerprint": "SHA256:other"})
    assert seen in problem(other, 409, "state-conflict")["detail"]
    assert Site.objects.get().host_key == ""

    accepted = operator.post("site/far/accept-host-key", {"fingerprint": seen})
    assert accepted.status_code == 200
    assert accepted.json()["host_key"] == ssh_host.host_key
    assert accepted.json()["host_key_fingerprint"] == seen
    assert operator.get("site/far/").json()["host_key_fingerprint"] == seen
    told = [event.data["message"] for event in Event.objects.filter(kind="log", subject_id="far")]
    assert any(seen in message and "olga" in message for message in told)
    assert wrong(letter(operator)) == []


def test_a_changed_host_key_is_an_alarm(ssh_host: SshHost, manager: Any, operator: Caller) -> None:
    kind, text = ssh_host.host_key.split()
    before = f"{kind} {text[:-4]}AAA="
    registered(ssh_host, manager, host_key=before)

    found = letter(operator)

    assert wrong(found) == ["host key"]
    assert "somebody is in between" in found["host key"]["detail"]
    assert fingerprint(ssh_host.host_key) in found["host key"]["detail"]
    assert "login" in not_tried(found)


def test_a_key_that_is_refused_is_told_of_with_its_name(cluster: MiniCluster, manager: Any, operator: Caller) -> None:
    site = registered(cluster.hosts[0], manager)
    cluster.hosts[0].refuse_user_key()

    found = letter(operator)

    assert wrong(found) == ["login"]
    assert site.identity in found["login"]["detail"]
    cluster.hosts[0].accept_user_key()
    assert wrong(letter(operator)) == []


def test_what_is_wrong_with_folder_and_python_does_not_hide_each_other(
    ssh_host: SshHost, manager: Any, operator: Caller
) -> None:
    registered(ssh_host, manager, directory="/proc/nowhere")

    found = letter(operator)

    assert "folder" in wrong(found)
    assert "`directory`" in found["folder"]["detail"]
    assert found["python and renderers"]["ok"] is True
    assert found["route to the manager"]["ok"] is True


def test_a_manager_that_the_site_cannot_reach_is_told_with_what_to_set(
    ssh_host: SshHost, manager: Any, operator: Caller, settings: Any
) -> None:
    registered(ssh_host, manager)
    settings.RRM = replace(settings.RRM, manager_url="http://127.0.0.1:1")

    found = letter(operator)

    assert wrong(found) == ["route to the manager"]
    assert "RRM_MANAGER_URL" in found["route to the manager"]["detail"]
    assert "tunnel" in found["route to the manager"]["detail"]


def test_adding_a_site_shows_the_key_to_compare(ssh_host: SshHost, manager: Any, operator: Caller) -> None:
    body = {"id": "new", "kind": "ssh", "host": "127.0.0.1", "port": ssh_host.port, "username": ssh_host.account}

    made = operator.post("site/", body).json()

    assert made["host_key"] == ""
    assert made["host_key_offered"] == fingerprint(ssh_host.host_key)


def test_an_identity_is_a_private_file_of_the_key_directory(manager: Any, operator: Caller) -> None:
    (manager.keys_dir / "open").touch(0o644)
    (manager.keys_dir / "open").chmod(0o644)
    (manager.keys_dir / "mine").touch(0o600)

    def refusal(name: str) -> str:
        body = {"id": "new", "kind": "ssh", "host": "127.0.0.1", "port": 1, "identity": name}
        said: str = problem(operator.post("site/", body), 422, "invalid")["errors"]["identity"][0]
        return said

    assert "not a path" in refusal("../mine")
    assert "no such file" in refusal("missing")
    assert "chmod 600" in refusal("open")
    kept = operator.post("site/", {"id": "new", "kind": "ssh", "host": "127.0.0.1", "port": 1, "identity": "mine"})
    assert kept.status_code == 201


def test_a_key_that_is_none_or_missing_is_told_with_what_to_do(
    ssh_host: SshHost, manager: Any, operator: Caller
) -> None:
    registered(ssh_host, manager)
    Site.objects.update(identity="none")
    detail = letter(operator)["login"]["detail"]
    assert str(manager.keys_dir) in detail
    (manager.keys_dir / "none").write_text("hello")
    (manager.keys_dir / "none").chmod(0o600)
    assert "ssh-keygen" in letter(operator)["login"]["detail"]


def test_one_cause_is_told_once(ssh_host: SshHost, manager: Any, operator: Caller) -> None:
    registered(ssh_host, manager, python="python9")

    found = letter(operator)

    assert wrong(found) == ["clock"]
    assert "Set the site's `python`" in found["clock"]["detail"]
    assert not_tried(found) == ["folder", "python and renderers", "route to the manager"]


def test_the_command_prints_the_letter(ssh_host: SshHost, manager: Any) -> None:
    registered(ssh_host, manager, host_key="")
    out = StringIO()

    with pytest.raises(CommandError, match="did not go well"):
        call_command("check_site", "far", stdout=out)
    assert "No key of this host has been accepted yet" in out.getvalue()
    with pytest.raises(CommandError, match="another key"):
        call_command("check_site", "far", "--accept", "SHA256:other", stdout=out)

    call_command("check_site", "far", "--accept", fingerprint(ssh_host.host_key), stdout=out)
    assert "Nodes can work at far." in out.getvalue()
