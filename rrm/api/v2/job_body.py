"""Jobs as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from rrm.api.auth import Access
from rrm.api.v2.locations import at
from rrm.domain import mandelbrot
from rrm.domain.capabilities import LONGEST_TAG, MOST_TAGS
from rrm.domain.coloring import METHODS, REPEATS
from rrm.domain.orders import MAX_SUPERSAMPLE, OUTPUTS, POLICIES, PRIORITIES
from rrm.domain.palettes import INTERPOLATIONS
from rrm.domain.states import JobState
from rrm.farm import jobs as use_cases
from rrm.farm.models import Job
from rrm.farm.transitions import iso
from rrm.farm.waiting import pending_reasons
from rrm.results.exports import EXPORTS


def jobs_of(viewer: Access) -> QuerySet[Job]:
    """The jobs that somebody may see, with what their bodies need."""
    found = Job.objects.select_related("owner", "model", "resource")
    return found if viewer.operator else found.filter(owner=viewer.user)


def job_bodies(jobs: Sequence[Job], now: datetime) -> list[dict[str, Any]]:
    """In a constant number of queries, for rows of `jobs_of`."""
    by_site, waiting = use_cases.by_site(jobs), pending_reasons(jobs)
    return [body_of(job, now, by_site[job.pk], waiting[job.pk]) for job in jobs]


def body_of(job: Job, now: datetime, by_site: Sequence[Any] = (), pending_reason: str = "") -> dict[str, Any]:
    """What the row tells by itself, with what others do. No queries for a row of `jobs_of`."""
    return {
        **_order(job),
        "state": str(job.state),
        "reason": job.reason,
        "pending_reason": pending_reason,
        "late": job.deadline is not None and (job.finished_at or now) > job.deadline,
        "progress": use_cases.progress(job, now),
        "by_site": list(by_site),
        "warm_hits": job.warm_hits,
        "loads": job.loads,
        "created_at": iso(job.created_at),
        "started_at": _iso(job.started_at),
        "finished_at": _iso(job.finished_at),
        "links": _links(job),
    }


def _order(job: Job) -> dict[str, Any]:
    """What was asked for."""
    return {
        "id": str(job.pk),
        "name": job.name,
        "owner": job.owner.get_username(),
        "resource": job.resource_id,
        "model": str(job.model_id),
        "model_name": job.model.name,
        "params": job.model.params,
        "kind": job.kind,
        "recolor_of": str(job.source_id) if job.source_id else None,
        "width": job.width,
        "height": job.height,
        "tile_size": job.tile_size,
        "tile_rows": job.tile_rows,
        "tile_cols": job.tile_cols,
        "view": job.view,
        "preview_scale": job.preview_scale,
        "outputs": job.outputs,
        "coloring": job.coloring,
        "supersample": job.supersample,
        "adaptive": job.adaptive,
        "priority": job.priority,
        "sites": {"policy": job.site_policy, "ids": job.site_ids},
        "requires": job.requires,
        "deadline": _iso(job.deadline),
        "callback_url": None,
    }


def exports_of(job: Job) -> list[str]:
    """The other formats that the job's results can be had in."""
    has = {*job.outputs, *(["png"] if job.has_picture else [])}
    return [
        name
        for name, export in EXPORTS.items()
        if export.source in has and export.fits(job.width, job.height) and export.takes(job.palette.get("method"))
    ]


def _links(job: Job) -> dict[str, Any]:
    return {
        "self": at("job", job.pk),
        "image": at("job", job.pk, "image.png") if job.has_picture else None,
        "counts": at("job", job.pk, "counts.npy") if "counts" in job.outputs else None,
        "smooth": at("job", job.pk, "smooth.npy") if "smooth" in job.outputs else None,
        "pyramid": at("job", job.pk, "pyramid.dzi") if job.has_picture else None,
        "exports": [at("job", job.pk, name) for name in exports_of(job)],
        "timeline": at("job", job.pk, "timeline"),
        "events": at("job", job.pk, "events"),
    }


def _iso(instant: datetime | None) -> str | None:
    return iso(instant) if instant else None


class JobSitesSerializer(serializers.Serializer[Any]):
    """Which sites render, and how they share."""

    policy = serializers.ChoiceField(choices=POLICIES, default="any")
    ids = serializers.ListField(child=serializers.CharField(), default=list)


class ColoringSerializer(serializers.Serializer[Any]):
    """How values become colours. Give `palette` or `stops`."""

    palette = serializers.CharField(default="electric", help_text="A name of `palette/`.")
    stops = serializers.ListField(
        child=serializers.ListField(child=serializers.JSONField()),
        required=False,
        help_text='A gradient of your own: 2 to 1024 of [position from 0 to 1, "#rrggbb"].',
    )
    interpolation = serializers.ChoiceField(choices=INTERPOLATIONS, required=False, help_text="The palette's own.")
    repeat = serializers.ChoiceField(choices=REPEATS, required=False, help_text="What follows the gradient's end.")
    method = serializers.ChoiceField(choices=METHODS, default="smooth")
    offset = serializers.FloatField(default=0.0, help_text="Added to t: 1 is a whole cycle.")
    scale = serializers.FloatField(default=1.0, help_text="Multiplies t; not 0.")
    interior = serializers.CharField(default="#000000", help_text="The colour of points that never escape.")
    light_angle = serializers.FloatField(default=45.0, help_text="normal only: degrees from the right, anticlockwise.")
    light_height = serializers.FloatField(default=1.5, help_text="normal only: 0 is grazing light, 10 nearly none.")


class RecolorSerializer(serializers.Serializer[Any]):
    """A finished job in other colours."""

    name = serializers.CharField(required=False, max_length=200)
    coloring = ColoringSerializer()


class JobOrderSerializer(serializers.Serializer[Any]):
    """An image to render. Give `model` or `params`."""

    name = serializers.CharField(required=False, max_length=200)
    resource = serializers.CharField(required=False, help_text="May be left out when there is only one.")
    model = serializers.CharField(required=False, help_text="The id or name of a model.")
    params = serializers.DictField(required=False, help_text="The parameters of a model, in place of one.")
    kind = serializers.ChoiceField(choices=["image"], default="image")
    width = serializers.IntegerField(min_value=1)
    height = serializers.IntegerField(min_value=1)
    tile_size = serializers.IntegerField(required=False, help_text="256 by default; 512 from 2^26 pixels on.")
    outputs = serializers.ListField(child=serializers.ChoiceField(choices=OUTPUTS), default=["png"])
    coloring = ColoringSerializer(required=False)
    supersample = serializers.IntegerField(
        default=1, min_value=1, max_value=MAX_SUPERSAMPLE, help_text="n x n samples for each pixel of the picture."
    )
    adaptive = serializers.BooleanField(default=False, help_text="More than one only where neighbours differ.")
    priority = serializers.ChoiceField(choices=PRIORITIES, default="normal")
    sites = JobSitesSerializer(required=False)
    requires = serializers.ListField(
        child=serializers.CharField(max_length=LONGEST_TAG),
        max_length=MOST_TAGS,
        default=list,
        help_text="Capabilities that a site must have to render it.",
    )
    deadline = serializers.DateTimeField(required=False, allow_null=True)
    callback_url = serializers.URLField(required=False, allow_null=True)


class JobChangeSerializer(serializers.Serializer[Any]):
    """What can be changed about a job."""

    name = serializers.CharField(required=False, max_length=200, allow_blank=True)
    priority = serializers.ChoiceField(choices=PRIORITIES, required=False)


class ProgressSerializer(serializers.Serializer[Any]):
    tiles = serializers.IntegerField()
    done = serializers.IntegerField()
    percent = serializers.FloatField()
    tiles_per_second = serializers.FloatField()
    eta_seconds = serializers.FloatField(allow_null=True)


class NodeShareSerializer(serializers.Serializer[Any]):
    node = serializers.UUIDField()
    name = serializers.CharField()
    hostname = serializers.CharField(allow_blank=True)
    tiles = serializers.IntegerField()
    mean_render_ms = serializers.FloatField()


class SiteShareSerializer(serializers.Serializer[Any]):
    site = serializers.CharField()
    color = serializers.CharField()
    tiles = serializers.IntegerField()
    mean_render_ms = serializers.FloatField()
    nodes = NodeShareSerializer(many=True)


class JobLinksSerializer(serializers.Serializer[Any]):
    """Paths on this server; null for an output that the job does not have."""

    self = serializers.CharField()
    image = serializers.CharField(allow_null=True)
    counts = serializers.CharField(allow_null=True)
    smooth = serializers.CharField(allow_null=True)
    pyramid = serializers.CharField(allow_null=True)
    exports = serializers.ListField(child=serializers.CharField(), help_text="Other formats, made on demand.")
    timeline = serializers.CharField()
    events = serializers.CharField()


class ViewSerializer(serializers.Serializer[Any]):
    """Pixel (row, col) samples x0 + col*dx, y0 + row*dy."""

    x0 = serializers.FloatField()
    y0 = serializers.FloatField()
    dx = serializers.FloatField()
    dy = serializers.FloatField()


class DeepViewSerializer(serializers.Serializer[Any]):
    """Pixel (row, col) of W x H samples center + (col - W/2)*dx + i*(row - H/2)*dy; the numbers are decimal strings."""

    method = serializers.ChoiceField([mandelbrot.PERTURBATION])
    center = serializers.ListField(child=serializers.CharField(), min_length=2, max_length=2)
    dx = serializers.CharField()
    dy = serializers.CharField()


@extend_schema_field(
    PolymorphicProxySerializer("SampleGrid", [ViewSerializer, DeepViewSerializer], resource_type_field_name=None)
)
class ViewField(serializers.DictField):
    """The sample grid: in doubles, or around a centre of any precision."""


class JobSerializer(serializers.Serializer[Any]):
    """A job."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_blank=True)
    owner = serializers.CharField()
    resource = serializers.CharField()
    model = serializers.UUIDField()
    model_name = serializers.CharField(allow_null=True)
    params = serializers.DictField()
    kind = serializers.CharField(help_text="image, or recolor for new colours of a finished job.")
    recolor_of = serializers.UUIDField(allow_null=True, help_text="The job whose values a recolouring shows.")
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    tile_size = serializers.IntegerField()
    tile_rows = serializers.IntegerField()
    tile_cols = serializers.IntegerField()
    view = ViewField()
    preview_scale = serializers.IntegerField()
    outputs = serializers.ListField(child=serializers.CharField())
    coloring = serializers.DictField()
    supersample = serializers.IntegerField()
    adaptive = serializers.BooleanField()
    priority = serializers.CharField()
    sites = JobSitesSerializer()
    requires = serializers.ListField(child=serializers.CharField())
    deadline = serializers.DateTimeField(allow_null=True)
    callback_url = serializers.URLField(allow_null=True)
    state = serializers.CharField(help_text=", ".join(JobState))
    reason = serializers.CharField(allow_blank=True)
    pending_reason = serializers.CharField(allow_blank=True, help_text="Why nothing is being rendered now.")
    late = serializers.BooleanField(help_text="Its deadline has passed, or had when it finished.")
    progress = ProgressSerializer()
    by_site = SiteShareSerializer(many=True)
    warm_hits = serializers.IntegerField()
    loads = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    links = JobLinksSerializer()
