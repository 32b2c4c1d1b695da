"""Sites: how each is reached, and what is wrong with it."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.utils import timezone

from rrm.errors import LauncherError
from rrm.farm.models import Site
from rrm.farm.transitions import record
from rrm.launchers.base import Launcher
from rrm.launchers.local import LocalLauncher

logger = logging.getLogger(__name__)


def launcher_for(site: Site) -> Launcher:
    """What starts and stops nodes at `site`. Raises LauncherError for a site that cannot be used as it is set up."""
    if site.kind == Site.Kind.LOCAL:
        return LocalLauncher(settings.RRM.data_dir)
    raise LauncherError(f"This version starts nodes on local sites only; {site.pk} is of kind {site.kind}.")


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
