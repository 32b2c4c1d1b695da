"""Sites: how each is reached, and what is wrong with it."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from rrm.errors import LauncherError, StateConflict
from rrm.farm.models import Site
from rrm.farm.transitions import record
from rrm.launchers import bootstrap
from rrm.launchers.base import Launcher
from rrm.launchers.bootstrap import Renderers, Report
from rrm.launchers.connection import Connection, Target, connection_to, fetch_host_key, fingerprint
from rrm.launchers.local import LocalLauncher
from rrm.launchers.shipping.stream import Progress
from rrm.launchers.slurm.launcher import SlurmLauncher
from rrm.launchers.ssh import SshLauncher

logger = logging.getLogger(__name__)

NO_RENDERERS = "The renderers cannot be brought there: "


def launcher_for(site: Site) -> Launcher:
    """What starts and stops nodes at `site`. Raises LauncherError for a site that cannot be used as it is set up."""
    if site.kind == Site.Kind.LOCAL:
        return LocalLauncher(settings.RRM.data_dir)
    connection = connection_to(target_of(site))
    if site.kind == Site.Kind.SSH:
        return SshLauncher(connection, lambda found: _renderers_at(site, found))
    interval = timedelta(seconds=site.poll_interval)
    return SlurmLauncher(connection, lambda _: _renderers_at(site, connection), poll_interval=interval)


def _renderers_at(site: Site, connection: Connection) -> Renderers:
    """What a launch needs there, brought if need be; that it cannot be is the site's problem. Raises LauncherError."""
    known = Site.objects.values_list("problem", flat=True).get(pk=site.pk)
    try:
        found = bootstrap.ensure_renderers(connection)
    except LauncherError as error:
        if not known:
            note_problem(site, f"{NO_RENDERERS}{error.detail}")
        raise
    if known.startswith(NO_RENDERERS):
        note_problem(site, "")
    return found


def is_tunnelled(site: Site) -> bool:
    """Whether its nodes reach the manager through the site's own connection."""
    return site.is_remote and site.connection == Site.Connection.TUNNEL


def target_of(site: Site) -> Target:
    """How to get into a site, from its row and the settings. Raises LauncherError for one of this machine."""
    if not site.is_remote:
        raise LauncherError(f"{site.pk} is this machine: nothing is reached over SSH.")
    return Target(
        site=site.pk,
        host=site.host,
        port=site.port,
        username=site.username,
        identity=settings.RRM.keys_dir / site.identity if site.identity else None,
        host_key=site.host_key.strip(),
        config=settings.RRM.ssh_config,
        python=site.python,
        directory=site.directory,
        installation=settings.RRM.installation,
    )


def bring_renderers(
    site: Site, actor: str, *, wheel_folder: Path | None = None, progress: Progress | None = None
) -> Report:
    """See to it that the site has the renderers of this version. Raises LauncherError with what to do."""
    connection = connection_to(target_of(site))
    connection.circuit.reset()  # somebody asked for it: they may have mended what was wrong
    try:
        report = bootstrap.bootstrap(connection, wheel_folder=wheel_folder, progress=progress)
    except LauncherError as error:
        note_problem(site, error.detail)
        raise
    note_problem(site, "")
    if report.did != "nothing":
        message = f"site {site.pk}: renderers {report.renderers.version} {report.did} by {actor}"
        record(site, "log", {"level": "info", "message": message}, actor=actor)
    return report


def offered_fingerprint(site: Site) -> str:
    """Of the key that the host shows now. Raises SiteUnavailable."""
    return fingerprint(fetch_host_key(target_of(site)))


def accept_host_key(site: Site, expected: str, actor: str) -> None:
    """Trust the key that the host shows now, if its fingerprint is the expected one. Raises StateConflict otherwise."""
    shown = fetch_host_key(target_of(site))
    seen = fingerprint(shown)
    if seen != expected.strip():
        raise StateConflict(f"{site.host} shows another key, {seen}; nothing was accepted.")
    if site.host_key.split()[:2] == shown.split():
        return
    before = fingerprint_of(site.host_key)
    message = f"site {site.pk}: host key {seen} accepted by {actor}" + (f" in place of {before}" if before else "")
    with transaction.atomic():
        Site.objects.filter(pk=site.pk).update(host_key=shown)
        site.host_key = shown
        record(site, "log", {"level": "warning", "message": message}, actor=actor)
    note_problem(site, "")


def fingerprint_of(host_key: str) -> str:
    """ "SHA256:…" of a stored key; empty when there is none, or none that can be read."""
    try:
        return fingerprint(host_key)
    except ValueError:
        return ""


def note_traffic(site: Site) -> None:
    """Write down what the site's connection has cost since this process began."""
    costs = connection_to(target_of(site)).costs()
    Site.objects.filter(pk=site.pk).update(traffic=costs)


def note_problem(site: Site, problem: str) -> None:
    """Remember why the site cannot be used at present, or, with "", that it can; only news are told."""
    problem = problem[:500]
    changed = Site.objects.filter(pk=site.pk).exclude(problem=problem)
    if not changed.update(problem=problem, problem_since=timezone.now() if problem else None):
        return
    level, message = ("warning", problem) if problem else ("info", "It answers again.")
    logger.log(logging.WARNING if problem else logging.INFO, "Site %s: %s", site.pk, message)
    record(site, "site", facts_of(site) | {"problem": problem})
    record(site, "log", {"level": level, "message": f"site {site.pk}: {message}"})


def facts_of(site: Site) -> dict[str, Any]:
    """What an event tells of a site."""
    return {
        "id": site.pk,
        "name": site.name or site.pk,
        "kind": site.kind,
        "color": site.color,
        "enabled": site.enabled,
        "max_nodes": site.max_nodes,
    }
