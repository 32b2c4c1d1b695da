"""Recolouring: a finished job's picture in other colours, from the values that it kept, as a job of its own.

The new job has no tiles to render: it goes from QUEUED straight to COMPOSING, and what is told of every other job is
told of it. Its values stay with the job that it names as `source`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import DatabaseError

from rrm.domain import coloring, orders
from rrm.domain.states import JobState
from rrm.errors import Invalid, StateConflict
from rrm.farm import colormaps, jobs
from rrm.farm.models import Job

logger = logging.getLogger(__name__)

_SHARED = (
    *("resource", "model", "width", "height", "tile_size", "tile_cols", "tile_rows", "tiles"),
    *("view", "preview_scale", "priority", "site_policy", "site_ids", "requires_index"),
)


def recolor(owner: User, job: Job, body: object, *, key: str = "") -> tuple[Job, bool]:
    """A job that shows `job` as `body` says; the flag says whether it is new. With `key`, sent twice it is one job.

    Raises Invalid with every bad field, or with what to order instead when the values needed were not kept, and
    StateConflict for a job that is not completed.
    """
    request = {"recolor": str(job.pk), "order": body}
    new, is_new = jobs.accept(owner, request, key, lambda: (_draft(owner, _with_values(job), body), []))
    try:
        jobs.finish_if_done(new)
    except DatabaseError as error:  # it is stored, and the loop finishes it
        logger.warning("The recolouring %s is left to the loop: %s", new.pk, error)
    return new, is_new


def _with_values(job: Job) -> Job:
    """The job that keeps the values: of a recolouring, its source."""
    if job.state != JobState.COMPLETED:
        raise StateConflict(f"The job is {job.state}; it can be recoloured when it is COMPLETED.")
    if job.kind != Job.Kind.RECOLOR:
        return job
    if job.source is None:
        raise StateConflict("The job whose values this one shows was deleted; order the view again.")
    return job.source


def _draft(owner: User, source: Job, body: object) -> Job:
    name, request, look = _parsed(body)
    coloring.check_kept(look, source.rendered)
    return Job(
        kind=Job.Kind.RECOLOR,
        source=source,
        owner=owner,
        name=name,
        outputs=["png"],
        coloring=dict(request),
        palette=look,
        tiles_done=source.tiles,
        **{field: getattr(source, field) for field in _SHARED},
    )


def _parsed(body: object) -> tuple[str, Mapping[str, Any], coloring.Look]:
    """The name, the colouring as it was asked for and as it is painted with. Raises Invalid with every bad field."""
    given = body.get("coloring") if isinstance(body, Mapping) else None
    with Invalid.collected() as check:
        name, request = check(lambda: orders.parse_recolor(body)) or ("", {})
        look = check(lambda: coloring.parse(given, colormaps.palettes())) if isinstance(given, Mapping) else None
    return name, request, look or {}
